// @ts-check
// Keys that the keyboard on a phone's screen does not have. Ctrl and Alt are held for the one key that comes next.

import { at } from "./dom.js";

/** As people hold a phone or a tablet: with their fingers. */
export const isTouch = matchMedia("(pointer: coarse)").matches;

export class TouchBar {
  /** Codes of what is held for the next key. */
  #held = new Set();

  /** @param {(codes: string[]) => void} press presses these together, and lets go */
  constructor(press) {
    this.bar = at("touch-bar");
    // What has the keyboard keeps it, or the phone would put its own away.
    this.bar.addEventListener("pointerdown", (event) => event.preventDefault());
    this.bar.addEventListener("click", (event) => {
      const button = /** @type {HTMLElement} */ (event.target).closest("button");
      const code = button?.dataset["code"];
      if (!button || !code) return;
      if (!button.hasAttribute("aria-pressed")) return press([...this.take(), code]);
      if (!this.#held.delete(code)) this.#held.add(code);
      this.#show();
    });
  }

  /** @param {boolean} shown */
  show(shown) {
    this.bar.hidden = !shown;
    if (!shown) this.take();
  }

  get isShown() {
    return !this.bar.hidden;
  }

  /** What is held, which is let go by this. @returns {string[]} */
  take() {
    const held = [...this.#held];
    this.#held.clear();
    this.#show();
    return held;
  }

  #show() {
    for (const button of this.bar.querySelectorAll("[aria-pressed]")) {
      const code = /** @type {HTMLElement} */ (button).dataset["code"];
      button.setAttribute("aria-pressed", String(this.#held.has(code)));
    }
  }
}
