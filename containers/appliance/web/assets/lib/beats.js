// @ts-check
// The session's times, repeated on a page's own line: the desktop's, or the console's.

/** @typedef {import("./session.js").Feed} Feed */

/**
 * A line on which the session's times are repeated, and given back by the gateway: by them it knows how old is what comes
 * after, and the page that this line lives. Others may be there when it is not.
 */
export class Beats {
  #line;
  /** When the first of them was sent that has no answer yet. */
  #since = 0;
  /** Nothing is expected of a line that has never given one back. */
  #answers = false;

  /** @param {WebSocket} line before anybody else listens to it */
  constructor(line) {
    this.#line = line;
    line.addEventListener("message", (event) => {
      this.#since = 0; // a large picture may have the line before the answer
      if (typeof event.data !== "string") return;
      this.#answers = true;
      event.stopImmediatePropagation(); // texts are ours
    });
  }

  /** @param {number} now the server's time */
  repeat(now) {
    if (this.#line.readyState !== WebSocket.OPEN) return;
    const waits = this.#line.bufferedAmount > 0; // behind something large, be it but in the browser
    this.#line.send(String(now));
    if (!waits) this.#since ||= performance.now();
  }

  /** For how long it has not answered, in milliseconds. */
  get unanswered() {
    const waits = this.#answers && this.#since && this.#line.readyState === WebSocket.OPEN;
    return waits ? performance.now() - this.#since : 0;
  }
}

/**
 * Repeats the session's times on the page's lines, and has the feed look at them.
 * @param {Feed} feed
 * @param {() => Iterable<Beats>} lines
 */
export function repeatBeats(feed, lines) {
  feed.addEventListener("beat", (event) => {
    for (const line of lines()) line.repeat(/** @type {CustomEvent<number>} */ (event).detail);
  });
  feed.unanswered = () => Math.max(0, ...[...lines()].map((line) => line.unanswered));
}
