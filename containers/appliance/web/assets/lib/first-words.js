// @ts-check
// What the RDP client says first on a line: kept from its last visit, and told with the line's address, so that the answers
// come with the handshake's. On a slow line these are two round trips less.
//
// Both messages are the same each time, for the log-in's secrets come behind them: RDCleanPath's request, and the offer of
// network-level authentication. What the client really says is held against it, byte for byte.

import { clientName } from "./client-file.js";

/** @typedef {[Uint8Array, Uint8Array]} Words */

/** Where the browser keeps them: for this session's place, as a portal has many at one origin. */
const KEPT_AS = `7lbd-first-words:${new URL(".", location.href).pathname}`;

/**
 * What the client of this very build said last time, if the browser kept it.
 * @returns {Words | null}
 */
export function kept() {
  try {
    const { client, said } = JSON.parse(localStorage.getItem(KEPT_AS) ?? "{}");
    return client === clientName ? [unpacked(said[0]), unpacked(said[1])] : null;
  } catch {
    return null; // the browser keeps nothing, or what it keeps is not ours
  }
}

/** @param {Words} said */
function keep(said) {
  try {
    localStorage.setItem(KEPT_AS, JSON.stringify({ client: clientName, said: said.map(packed) }));
  } catch {
    // As above.
  }
}

function forget() {
  try {
    localStorage.removeItem(KEPT_AS);
  } catch {
    // As above.
  }
}

/**
 * The address of a line on which they are said.
 * @param {string} address
 * @param {Words} words
 */
export function telling(address, [ask, hello]) {
  return `${address}&ask=${packed(ask)}&hello=${packed(hello)}`;
}

/** @param {Uint8Array} message in base64url (RFC 4648, 5) */
export function packed(message) {
  return btoa(String.fromCharCode(...message)).replace(/[+/=]/g, (sign) => ({ "+": "-", "/": "_" })[sign] ?? "");
}

/** @param {string} text */
function unpacked(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (sign) => sign.charCodeAt(0));
}

/** One line's beginning. Answers that come before the client has asked are held until it does. */
export class Beginning {
  #line;
  /** @type {Uint8Array[]} What was told with the address and the client has still to say. */
  #told;
  /** @type {Uint8Array[]} */
  #said = [];
  /** @type {unknown[]} */
  #held = [];
  /** How many answers the client may have. */
  #free;

  /**
   * @param {WebSocket} line before anybody else listens to it
   * @param {Words | null} told
   */
  constructor(line, told) {
    this.#line = line;
    this.#told = told ? [...told] : [];
    this.#free = told ? 0 : Infinity;
    if (!told) return;
    line.binaryType = "arraybuffer"; // as the client wants it; that one comes later
    line.addEventListener("message", (event) => this.#hold(event));
  }

  /** @param {MessageEvent} event */
  #hold(event) {
    if (!event.isTrusted) return; // one of those below
    if (this.#free > 0 && !this.#held.length) {
      this.#free -= 1;
      return;
    }
    event.stopImmediatePropagation();
    this.#held.push(event.data);
  }

  /** @param {number} more */
  #release(more) {
    this.#free += more;
    while (this.#free > 0 && this.#held.length) {
      this.#free -= 1;
      this.#line.dispatchEvent(new MessageEvent("message", { data: this.#held.shift() }));
    }
  }

  /**
   * Notes what the client says.
   * @param {Uint8Array} message
   * @returns {boolean} whether it has been told already, and is not to be sent again
   */
  says(message) {
    if (this.#said.length < 2) this.#said.push(message);
    else if (this.#said.length === 2) {
      // The second has been answered. A list of three is noted no more.
      const [ask, hello] = this.#said;
      if (ask && hello) keep([ask, hello]);
      this.#said.push(message);
    }
    const expected = this.#told.shift();
    if (!expected) return false;
    if (alike(expected, message)) {
      // RDCleanPath's answer is one message; behind the log-in's beginning nothing is held any more.
      this.#release(this.#told.length ? 1 : Infinity);
    } else {
      // Another account: the answers are to somebody else's question, and the client begins anew.
      forget();
      this.#line.close();
    }
    return true;
  }
}

/** @param {Uint8Array} one @param {Uint8Array} other */
function alike(one, other) {
  return one.length === other.length && one.every((byte, place) => byte === other[place]);
}
