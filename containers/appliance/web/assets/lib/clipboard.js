// @ts-check
// The clipboard, both ways, as far as the guest's server and the browser allow.
//
// A browser that lets us read gives us the clipboard whenever its window gets the focus. One that does not still
// gives it to whoever pastes by the keyboard; and what the guest copies can always be fetched by a button.

import { copy } from "./dom.js";
import { IS_MAC } from "./keys.js";

/** @typedef {import("./rdp.js").Connection} Connection */
/** @typedef {import("./rdp.js").ClipboardData} ClipboardData */
/** @typedef {"off" | "ask" | "on" | "blocked" | "manual"} State */

const KINDS = ["text/plain", "text/html", "image/png"];
const PERMISSION = /** @type {PermissionName} */ ("clipboard-read");

/** @type {Record<State, string>} */
const LABELS = {
  off: "No clipboard",
  ask: "Share clipboard",
  on: "Clipboard shared",
  blocked: "Clipboard blocked",
  manual: "Clipboard by keys",
};

/** By which browsers give what they paste. */
const PASTE = IS_MAC ? "Command-V" : "Control-V";

/** @type {Record<State, string>} */
const NOTES = {
  off: "This guest’s remote desktop server does not share the clipboard.",
  ask: "",
  on: "What you copy here can be pasted in the guest, and the other way round.",
  blocked: `The browser was told not to share the clipboard with this page. ${PASTE} still pastes into the guest.`,
  manual: `${PASTE} pastes into the guest. What the guest copies is fetched with this button.`,
};

export class Clipboard {
  /** @type {State} */
  state = "off";
  /** What this side offers. @type {Map<string, string | Uint8Array>} */
  #ours = new Map();
  /** What the guest copied and the browser did not take yet. @type {Map<string, string | Uint8Array> | null} */
  #theirs = null;

  /**
   * @param {HTMLButtonElement} button
   * @param {() => Connection | null} connection
   * @param {(note: string) => void} say
   */
  constructor(button, connection, say) {
    this.button = button;
    this.connection = connection;
    this.say = say;
    button.addEventListener("click", () => void this.#pressed());
    addEventListener("focus", () => void this.#look());
    document.addEventListener("paste", (event) => this.#pasted(event));
  }

  /** @param {boolean} able whether the guest's server shares the clipboard */
  async enable(able) {
    this.#set(able ? await this.#permission() : "off");
    if (this.state === "on") await this.#look();
  }

  /** @returns {Promise<State>} */
  async #permission() {
    if (!navigator.clipboard?.read) return "manual";
    try {
      const permission = await navigator.permissions.query({ name: PERMISSION });
      permission.onchange = () => void this.enable(this.state !== "off");
      return permission.state === "granted" ? "on" : permission.state === "denied" ? "blocked" : "ask";
    } catch {
      return "manual"; // a browser that asks each time
    }
  }

  /** @param {State} state */
  #set(state) {
    this.state = state;
    document.body.dataset["clipboard"] = state;
    this.#label();
  }

  #label() {
    this.button.disabled = this.state === "off";
    this.button.textContent = this.#theirs ? "Fetch what the guest copied" : LABELS[this.state];
    this.button.title = NOTES[this.state];
  }

  async #pressed() {
    if (this.#theirs) {
      const data = this.#theirs;
      if (!(await write(data)) && !(await writeText(data))) return this.say("The browser did not take it.");
      if (this.#theirs === data) this.#theirs = null;
    } else if (this.state === "ask") {
      await this.#read().catch(() => {});
      await this.enable(true);
    }
    this.say(NOTES[this.state]);
    this.#label();
  }

  async #look() {
    if (this.state === "on" && document.hasFocus()) await this.#read().catch(() => {});
  }

  async #read() {
    const found = new Map();
    for (const item of await navigator.clipboard.read()) {
      for (const kind of KINDS.filter((name) => item.types.includes(name) && !found.has(name))) {
        const blob = await item.getType(kind);
        found.set(kind, kind.startsWith("text/") ? await blob.text() : new Uint8Array(await blob.arrayBuffer()));
      }
    }
    await this.#offer(found);
  }

  /** @param {Map<string, string | Uint8Array>} data */
  async #offer(data) {
    if (data.size === 0 || same(data, this.#ours)) return;
    this.#ours = data;
    await this.announce();
  }

  /** Tells the guest what there is to paste; it fetches it when somebody does. */
  async announce() {
    if (this.state === "off") return;
    await this.connection()?.offerClipboard((data) => {
      for (const [kind, value] of this.#ours) {
        if (typeof value === "string") data.addText(kind, value);
        else data.addBinary(kind, value);
      }
    });
  }

  /** @param {ClipboardData} data what the guest copied */
  async received(data) {
    const found = new Map(data.items().map((item) => [item.mimeType(), item.value()]));
    if (found.size === 0) return;
    // It is ours now, too: not to be offered back.
    this.#ours = found;
    this.#theirs = (await write(found)) ? null : found;
    this.#label();
  }

  /**
   * Whether Control-V has to wait until the browser has given us what it pastes.
   * @param {KeyboardEvent} event
   */
  holdsBack(event) {
    const pastes = event.code === "KeyV" && (event.ctrlKey || event.metaKey) && !event.altKey;
    return pastes && this.state !== "off" && this.state !== "on";
  }

  /** @param {ClipboardEvent} event */
  #pasted(event) {
    event.preventDefault();
    if (this.state === "off") return;
    const found = new Map();
    for (const kind of KINDS.filter((name) => name.startsWith("text/"))) {
      const text = event.clipboardData?.getData(kind);
      if (text) found.set(kind, text);
    }
    void this.#offer(found);
  }
}

/**
 * @param {Map<string, string | Uint8Array>} one
 * @param {Map<string, string | Uint8Array>} other
 */
function same(one, other) {
  return one.size === other.size && [...one].every(([kind, value]) => equal(value, other.get(kind)));
}

/**
 * @param {string | Uint8Array} one
 * @param {string | Uint8Array | undefined} other
 */
function equal(one, other) {
  if (typeof one === "string" || typeof other === "string" || !other) return one === other;
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}

/**
 * @param {Map<string, string | Uint8Array>} data
 * @returns {Promise<boolean>} whether the browser took it
 */
async function write(data) {
  try {
    const kinds = [...data].filter(([kind]) => KINDS.includes(kind));
    const blobs = kinds.map(([type, value]) => [type, new Blob([/** @type {BlobPart} */ (value)], { type })]);
    await navigator.clipboard.write([new ClipboardItem(Object.fromEntries(blobs))]);
    return true;
  } catch {
    return false;
  }
}

/**
 * By the old way, which needs no HTTPS.
 * @param {Map<string, string | Uint8Array>} data
 * @returns {Promise<boolean>} whether the browser took its text
 */
async function writeText(data) {
  const text = data.get("text/plain");
  if (typeof text !== "string") return false;
  return copy(text).then(
    () => true,
    () => false,
  );
}
