// @ts-check
// What the desktop's and the console's page have in common: the menu at the upper edge, full screen, the veil.

import { at, sentence } from "./dom.js";
import { serveHandle } from "./handle.js";
import { serveToolbar } from "./toolbar.js";

/** @typedef {{ title: string, text?: string, hint?: string, again?: string, native?: boolean, alone?: boolean }} Words */

/**
 * Shows what stands in the way of the picture; nothing when nothing does. What stands `alone` has no other page beside
 * it: nobody serves one any more. The state is in <body data-state>.
 * @param {string} state
 * @param {Words} [words]
 */
export function veil(state, words) {
  document.body.dataset["state"] = state;
  at("veil").hidden = !words;
  if (!words) return;
  at("veil-title").textContent = words.title;
  at("veil-text").textContent = sentence(words.text ?? "");
  at("veil-hint").textContent = sentence(words.hint ?? "");
  const again = at("again");
  again.hidden = !words.again;
  again.textContent = words.again ?? "";
  at("veil-status").hidden = words.alone === true;
  const native = document.getElementById("veil-native");
  if (native) native.hidden = !words.native;
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let toastTimer;

/** @param {string} text shown for a few seconds */
export function toast(text) {
  const line = at("toast");
  line.textContent = text;
  line.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    line.hidden = true;
  }, 5000);
}

export class Menu {
  #button = at("menu-button");
  #menu = at("menu");

  /** @param {() => void} leave gives the keyboard back to the guest */
  constructor(leave) {
    this.leave = leave;
    serveHandle(this.#button);
    serveToolbar(this.#menu);
    this.#button.addEventListener("click", () => (this.isOpen ? this.close() : this.open()));
    at("tools").addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.isOpen) this.close();
    });
    at("stage").addEventListener("pointerdown", () => this.isOpen && this.close());
  }

  get isOpen() {
    return !this.#menu.hidden;
  }

  open() {
    at("toast").hidden = true; // it would lie over the menu
    this.#show(true);
    this.#menu.querySelector("button")?.focus();
  }

  close() {
    this.#show(false);
    this.leave();
  }

  /** @param {boolean} open */
  #show(open) {
    this.#menu.hidden = !open;
    this.#button.setAttribute("aria-expanded", String(open));
    at("note").textContent = "";
  }

  /**
   * @param {string} id of a button in the menu
   * @param {() => void} act
   */
  on(id, act) {
    at(id).addEventListener("click", () => {
      this.close();
      act();
    });
  }
}

/** How the keyboard is taken back from the guest, where there is one: it gets every other key. */
export function tellWayOut() {
  if (matchMedia("(any-pointer: fine)").matches)
    toast("Ctrl-Alt-Home brings the menu, and your keyboard back from the guest.");
}

/** Full screen, with all keys where the browser gives them to us (Keyboard Lock). */
export function serveFullScreen() {
  const button = at("full");
  button.hidden = !document.fullscreenEnabled;
  document.addEventListener("fullscreenchange", async () => {
    const full = document.fullscreenElement !== null;
    document.body.dataset["full"] = String(full);
    button.textContent = full ? "Leave full screen" : "Full screen";
    if (!full) return;
    const captured = await captureKeys();
    toast(
      captured
        ? "All keys go to the guest. Hold Esc to leave full screen."
        : "Press Esc to leave full screen. Alt-Tab and the Windows key stay with your computer.",
    );
  });
}

/** @returns {Promise<boolean>} */
async function captureKeys() {
  const keyboard = /** @type {{ keyboard?: { lock(): Promise<void> } }} */ (navigator).keyboard;
  try {
    await keyboard?.lock();
    return keyboard !== undefined;
  } catch {
    return false;
  }
}

export async function toggleFullScreen() {
  try {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await document.documentElement.requestFullscreen({ navigationUI: "hide" });
  } catch {
    toast("The browser does not allow full screen here.");
  }
}
