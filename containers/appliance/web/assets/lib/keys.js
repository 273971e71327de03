// @ts-check
// The keyboard. By default the guest gets the keys themselves (scan codes) and makes letters of them by its own
// layout; "as text" sends the letters that this computer made of them, for layouts that the guest does not have,
// for dead keys and input methods, and for the keyboard on a phone's screen.

import SCAN_CODES from "../vendor/novnc/core/input/xtscancodes.js";
import { Typing } from "./typing.js";

/** @typedef {import("./rdp.js").Connection} Connection */

// noVNC means QEMU's keyboard, which calls this one SysRq.
const CODES = /** @type {Record<string, number>} */ ({ ...SCAN_CODES, PrintScreen: 0xe037 });
const LOCKS = ["CapsLock", "NumLock", "ScrollLock", "KanaMode"];
export const IS_MAC = /mac/i.test(navigator.platform);
/** KeyboardEvent.keyCode of a key that an input method has. */
const COMPOSING = 229;

/** @param {string} code a KeyboardEvent's */
export function scanCode(code) {
  return CODES[code];
}

/**
 * The key that has this sign, where that is the same on all layouts: Ctrl with it is a command, and no letter.
 * @param {string} letter
 */
function codeOf(letter) {
  if (/^[a-z]$/i.test(letter)) return `Key${letter.toUpperCase()}`;
  if (/^[0-9]$/.test(letter)) return `Digit${letter}`;
  return letter === " " ? "Space" : "";
}

export class Keys {
  /** Codes of the keys that the guest holds for pressed. */
  #held = new Set();
  #fresh = true;

  /**
   * @param {HTMLElement} stage
   * @param {HTMLTextAreaElement} field
   * @param {() => Connection | null} connection
   * @param {() => void} onMenu
   */
  constructor(stage, field, connection, onMenu) {
    this.stage = stage;
    this.field = field;
    this.connection = connection;
    this.onMenu = onMenu;
    /** Set by the clipboard: it may want to be first when something is pasted. @type {(event: KeyboardEvent) => boolean} */
    this.pasteFirst = () => false;
    /** What the touch bar holds for the next key, which is let go by asking. @type {() => string[]} */
    this.takeHeld = () => [];
    stage.addEventListener("keydown", (event) => this.#down(event));
    stage.addEventListener("keyup", (event) => this.#up(event));
    stage.addEventListener("pointerenter", () => {
      this.#fresh = true;
    });
    addEventListener("blur", () => this.release());
    stage.addEventListener("focusout", () => this.release());
    new Typing(field, {
      press: (code) => this.chord(...this.takeHeld(), code),
      type: (letter) => this.#type(letter),
      mend: () => this.chord("Backspace"),
    });
  }

  get asText() {
    return document.body.dataset["keys"] === "text";
  }

  /** @param {boolean} asText */
  setAsText(asText) {
    document.body.dataset["keys"] = asText ? "text" : "physical";
    this.focus();
  }

  focus() {
    (this.asText ? this.field : this.stage).focus({ preventScroll: true });
  }

  /** No key is left hanging when the keyboard goes elsewhere. */
  release() {
    this.#held.clear();
    this.#fresh = true;
    this.connection()?.releaseAll();
  }

  /** @param {string[]} codes pressed in this order, released in the other */
  chord(...codes) {
    const to = this.connection();
    if (!to) return;
    const scan = codes.map((code) => CODES[code] ?? 0);
    to.send(...scan.map((code) => to.events.keyPressed(code)));
    to.send(...scan.reverse().map((code) => to.events.keyReleased(code)));
  }

  /**
   * The guest's paste, by Control and V. For a Mac's Command, which the guest holds for the Windows key, Control has to come
   * before that is let go: alone it would open the menu.
   * @param {boolean} byMeta or Control is held already
   */
  paste(byMeta) {
    const to = this.connection();
    if (!to || !byMeta) return this.chord("KeyV");
    to.send(to.events.keyPressed(CODES["ControlLeft"] ?? 0));
    for (const code of [...this.#held].filter((each) => each.startsWith("Meta"))) this.#let(to, code);
    this.chord("KeyV");
    to.send(to.events.keyReleased(CODES["ControlLeft"] ?? 0));
  }

  /** @param {KeyboardEvent} event */
  #down(event) {
    if (event.code === "Home" && event.ctrlKey && event.altKey) {
      event.preventDefault();
      this.release();
      return this.onMenu();
    }
    const to = this.connection();
    if (!to || this.#composes(event)) return;
    if (this.#fresh && !LOCKS.includes(event.key)) {
      to.syncLocks(event);
      this.#fresh = false;
    }
    if (this.asText && this.#isText(event)) return this.#altGraph(to, event);
    const code = CODES[event.code];
    if (code === undefined) return;
    if (this.pasteFirst(event)) return;
    event.preventDefault();
    this.#held.add(event.code);
    to.send(to.events.keyPressed(code));
    // A Mac tells nothing of keys let go while Command is held.
    if (IS_MAC && event.metaKey && !event.code.startsWith("Meta")) this.#let(to, event.code);
  }

  /** @param {KeyboardEvent} event */
  #up(event) {
    const to = this.connection();
    if (!to || !this.#held.has(event.code)) return;
    event.preventDefault();
    this.#let(to, event.code);
  }

  /**
   * @param {Connection} to
   * @param {string} code
   */
  #let(to, code) {
    this.#held.delete(code);
    to.send(to.events.keyReleased(CODES[code] ?? 0));
  }

  /**
   * Whether an input method has this key. Safari ends a composition before the key that ended it, and marks that one by the
   * old number alone (UI Events, legacy key attributes).
   * @param {KeyboardEvent} event
   */
  #composes(event) {
    return event.isComposing || (this.asText && event.keyCode === COMPOSING);
  }

  /** Whether this key makes a letter, and is left to the text field. @param {KeyboardEvent} event */
  #isText(event) {
    if (["Dead", "Process", "Unidentified", "AltGraph"].includes(event.key)) return true;
    const altGraph = event.getModifierState("AltGraph");
    return [...event.key].length === 1 && (altGraph || !(event.ctrlKey || event.altKey || event.metaKey));
  }

  /**
   * Windows says Control and Alt for AltGr: the guest must not, once letters are sent.
   * @param {Connection} to
   * @param {KeyboardEvent} event
   */
  #altGraph(to, event) {
    if (event.key === "AltGraph" && this.#held.has("ControlLeft")) this.#let(to, "ControlLeft");
  }

  /**
   * @param {string} letter
   * @returns {boolean} whether it is written there now
   */
  #type(letter) {
    const to = this.connection();
    if (!to) return false;
    const [held, code] = [this.takeHeld(), codeOf(letter)];
    const commands = held.length > 0 && code !== "";
    if (commands) this.chord(...held, code);
    else to.send(to.events.unicodePressed(letter), to.events.unicodeReleased(letter));
    return !commands;
  }
}
