// @ts-check
// The line of the RDP client, with one thing said in its stead: that the session is to have 32 bits a pixel.
//
// The client asks for 16. Windows then sends plain bitmaps, line by line and in 65,536 colours, instead of RemoteFX, which
// [MS-RDPRFX] has for sessions of 32 bits only. All that the client says of it stands in one message of its log-in:
// [MS-RDPBCGR], 2.2.1.3.2, Client Core Data.

import { Beats } from "./beats.js";
import { Beginning, kept, telling } from "./first-words.js";

const CONNECT_INITIAL = [0x7f, 0x65]; // the same, 4.1.3: behind TPKT and X.224
const CONNECT_INITIAL_AT = 7;
const KEY = [0x44, 0x75, 0x63, 0x61]; // the same, 2.2.1.3: "Duca", then the length of the blocks
const CORE_DATA = 0xc001; // the same, 2.2.1.3.1: CS_CORE
const HIGH_COLOUR_DEPTH_AT = 140;
const EARLY_CAPABILITIES_AT = 144;
const HIGH_COLOUR_24BPP = 24;
const WANT_32BPP_SESSION = 2;

/**
 * Asks for 32 bits a pixel in the message that says how many.
 * @param {Uint8Array} message which is changed
 * @returns {boolean} whether it is that message
 */
export function askForTrueColour(message) {
  const at = coreData(message);
  if (at < 0) return false;
  const view = new DataView(message.buffer, message.byteOffset + at);
  view.setUint16(HIGH_COLOUR_DEPTH_AT, HIGH_COLOUR_24BPP, true);
  view.setUint16(EARLY_CAPABILITIES_AT, view.getUint16(EARLY_CAPABILITIES_AT, true) | WANT_32BPP_SESSION, true);
  return true;
}

/**
 * @param {Uint8Array} message
 * @returns {number} where its Client Core Data begins, or -1
 */
function coreData(message) {
  if (!CONNECT_INITIAL.every((byte, place) => message[CONNECT_INITIAL_AT + place] === byte)) return -1;
  const key = message.findIndex((_, start) => KEY.every((byte, place) => message[start + place] === byte));
  if (key < 0) return -1;
  const length = key + KEY.length;
  const at = length + ((message[length] ?? 0) & 0x80 ? 2 : 1); // X.691, 11.9: a length in one byte, or in two
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  if (at + EARLY_CAPABILITIES_AT + 2 > message.length) return -1;
  const whole = view.getUint16(at, true) === CORE_DATA && view.getUint16(at + 2, true) > EARLY_CAPABILITIES_AT + 1;
  return whole ? at : -1;
}

/** The lines of this page's clients, until they are closed. @type {Set<TrueColourSocket>} */
export const lines = new Set();

/** A line that is open before the client asks for one, and the address that it will ask for. */
/** @type {{ line: TrueColourSocket, address: string } | null} */
let ahead = null;

/** What is waited for such a line's use, in milliseconds; the gateway waits 10 s for its first message. */
const STALE = 8000;

/**
 * Opens a line while the client is still on its way: two round trips that nobody waits for then, and four where it is known
 * what the client will say first. The first client that asks for this address gets it.
 * @param {string} address
 */
export function openAhead(address) {
  if (ahead && ahead.line.readyState <= WebSocket.OPEN) return;
  const words = kept();
  const opened = { line: new TrueColourSocket(words ? telling(address, words) : address, undefined, words), address };
  ahead = opened;
  setTimeout(() => {
    if (ahead !== opened) return;
    ahead = null;
    opened.line.close();
  }, STALE);
}

/** What the client takes for the browser's WebSocket. After that message it is. */
export class TrueColourSocket extends WebSocket {
  /** Whether the message has gone. */
  #asked = false;
  /** How many messages wait in `#line`, in their order: what a Blob holds is not told at once. */
  #waiting = 0;
  #line = Promise.resolve();
  /** @type {Beginning | undefined} */
  #beginning;
  /** What of the session's times goes over it. */
  beats = new Beats(this);

  /**
   * @param {string | URL} address
   * @param {string | string[]} [protocols]
   * @param {import("./first-words.js").Words | null} [words] which the address tells
   */
  constructor(address, protocols, words = null) {
    if (ahead && ahead.address === String(address) && ahead.line.readyState <= WebSocket.OPEN) {
      const taken = ahead.line;
      ahead = null;
      return taken;
    }
    super(address, protocols);
    this.#beginning = new Beginning(this, words);
    lines.add(this);
    this.addEventListener("close", () => lines.delete(this));
  }

  /** @param {string | Blob | BufferSource} data */
  send(data) {
    if (this.#asked && !this.#waiting) {
      super.send(data);
      return;
    }
    this.#waiting += 1;
    this.#line = this.#line.then(() => this.#sendInTurn(data));
  }

  /** @param {string | Blob | BufferSource} data */
  async #sendInTurn(data) {
    try {
      const message = await this.#amended(data);
      if (!(message instanceof Uint8Array) || !this.#beginning?.says(message)) super.send(message);
    } catch {
      // The line is gone, which the client hears from it.
    } finally {
      this.#waiting -= 1;
    }
  }

  /**
   * @param {string | Blob | BufferSource} data
   * @returns {Promise<string | Blob | BufferSource>}
   */
  async #amended(data) {
    if (this.#asked || !(data instanceof Blob)) return data;
    const message = new Uint8Array(await data.arrayBuffer());
    this.#asked = askForTrueColour(message);
    return message;
  }
}
