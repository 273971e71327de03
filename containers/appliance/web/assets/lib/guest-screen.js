// @ts-check
// The guest's own screen, by noVNC from QEMU's VNC server.

import RFB from "../vendor/novnc/core/rfb.js";
import { Backoff } from "./backoff.js";
import { Beats } from "./beats.js";

/**
 * Emits "state": "connecting", "connected", "waiting" (for the next attempt) or "off".
 */
export class GuestScreen extends EventTarget {
  state = "off";
  /** What of the session's times goes over the last connection. @type {Beats | undefined} */
  beats;
  #backoff = new Backoff();
  /** @type {RFB | undefined} */
  #rfb;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {HTMLElement} place
   * @param {(rfb: RFB) => void} dress sets what is wanted of each new connection
   */
  constructor(place, dress) {
    super();
    this.place = place;
    this.dress = dress;
  }

  /** The connection, while there is one. */
  get rfb() {
    return this.#rfb;
  }

  on() {
    if (this.state !== "off") return;
    this.#backoff.reset();
    this.#connect();
  }

  off() {
    if (this.state === "off") return;
    clearTimeout(this.#timer);
    const rfb = this.#rfb;
    this.#rfb = undefined;
    rfb?.disconnect();
    this.#set("off");
  }

  #connect() {
    this.#set("connecting");
    const address = new URL("ws/console", location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    address.hash = address.search = "";
    const line = new WebSocket(address, ["binary"]);
    this.beats = new Beats(line);
    const rfb = new RFB(this.place, line, { shared: true });
    this.#rfb = rfb;
    this.dress(rfb);
    rfb.addEventListener("connect", () => {
      this.#backoff.reset();
      this.#set("connected");
    });
    rfb.addEventListener("disconnect", () => this.#lost(rfb));
  }

  /** @param {RFB} rfb */
  #lost(rfb) {
    if (rfb !== this.#rfb) return;
    this.#rfb = undefined;
    this.#set("waiting");
    this.#timer = setTimeout(() => this.#connect(), this.#backoff.next());
  }

  /** @param {string} state */
  #set(state) {
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}
