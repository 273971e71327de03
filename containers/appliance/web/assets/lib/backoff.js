// @ts-check

/** Growing pauses between attempts, spread a little so that many pages do not come back at once. */
export class Backoff {
  #next;

  /**
   * @param {number} first milliseconds: most faults are over by then
   * @param {number} last milliseconds: soon enough for somebody who looks on, and little for a gateway with many pages
   */
  constructor(first = 500, last = 15_000) {
    this.first = first;
    this.last = last;
    this.#next = first;
  }

  reset() {
    this.#next = this.first;
  }

  /** The next pause, in milliseconds. */
  next() {
    const pause = this.#next * (0.8 + 0.4 * Math.random());
    this.#next = Math.min(this.#next * 2, this.last);
    return pause;
  }
}
