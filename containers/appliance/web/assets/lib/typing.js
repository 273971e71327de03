// @ts-check
// A field that is typed into in the guest's stead: for dead keys, input methods, and the keyboard on a phone's screen.

import { isTouch } from "./touch-bar.js";

/** What the field holds between two keys, so that there is something to delete. */
const FILLER_SIGN = "\u200b";
const FILLER = FILLER_SIGN.repeat(4);

/**
 * @typedef {object} Typist what gives it to the guest
 * @property {(code: "Enter" | "Backspace" | "Delete") => void} press by a KeyboardEvent's code
 * @property {(letter: string) => boolean} type whether it is written there now
 * @property {() => void} mend takes the last letter back
 */

export class Typing {
  /** The field's letters that the guest was given, and whether it has each: a silent line takes none. */
  #told = /** @type {{ letter: string, stands: boolean }[]} */ ([]);
  /** How much of the filler is left. */
  #filler = 0;

  /**
   * @param {HTMLTextAreaElement} field
   * @param {Typist} typist
   */
  constructor(field, typist) {
    this.field = field;
    this.typist = typist;
    field.addEventListener("input", (event) => this.#changed(/** @type {InputEvent} */ (event)));
    field.addEventListener("compositionend", () => this.#catchUp(true));
    this.#refill();
  }

  /** @param {InputEvent} event */
  #changed(event) {
    if (event.inputType.startsWith("deleteContentForward")) this.typist.press("Delete");
    // A phone's keyboard composes whole words, which are to be seen as they grow; an input method's or a dead key's first
    // tries are nobody's to see.
    if (!event.isComposing || isTouch) this.#catchUp(!event.isComposing);
  }

  /**
   * Gives the guest what the field holds by now; also what was there and is not any more. The last events of a composition
   * come in another order in each browser, so that the second of them has nothing left to give.
   * @param {boolean} whole whether nothing of it will change any more
   */
  #catchUp(whole) {
    const text = this.field.value.replaceAll(FILLER_SIGN, "");
    const left = this.field.value.length - text.length;
    const wanted = [...text];
    let same = 0;
    while (same < this.#told.length && this.#told[same]?.letter === wanted[same]) same++;
    for (const { stands } of this.#told.splice(same)) if (stands) this.typist.mend();
    if (left < this.#filler) this.typist.press("Backspace"); // a whole word of it, too: by one key
    for (const letter of wanted.slice(same)) this.#told.push({ letter, stands: this.#give(letter) });
    this.#filler = left;
    if (whole) this.#refill();
  }

  /** @param {string} letter */
  #give(letter) {
    if (letter !== "\n") return this.typist.type(letter);
    this.typist.press("Enter");
    return false; // what it did is not taken back
  }

  #refill() {
    this.field.value = FILLER;
    this.field.setSelectionRange(FILLER.length, FILLER.length);
    [this.#told, this.#filler] = [[], FILLER.length];
  }
}
