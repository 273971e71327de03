// @ts-check
// What the server tells of the session: one live stream for a page, which comes back by itself.

import { Backoff } from "./backoff.js";
import { isPortals, WANTS_LOGIN } from "./portal.js";

/**
 * @typedef {object} Status the JSON of api/status
 * @property {string} id
 * @property {string} user
 * @property {string} host
 * @property {string} image its name and version
 * @property {string} [title] what people call it
 * @property {string} accel
 * @property {string} network
 * @property {string} phase
 * @property {Record<string, number>} phases seconds since the start
 * @property {Record<string, number>} milestones seconds since the start
 * @property {string[]} warnings
 * @property {string[]} ways_out what is wrong with the ways out now
 * @property {string} paused
 * @property {string} reason
 * @property {string} hint
 * @property {number} started epoch
 * @property {number} now epoch
 * @property {number} ends_at epoch, or 0
 * @property {string} certificate
 * @property {"desktop" | "console" | "status"} role
 * @property {boolean} console
 * @property {boolean} clipboard
 * @property {string} screen the desktop's one size, as in "1280x800", or ""
 * @property {string} viewer the tab that has the desktop now
 * @property {number} late_inputs how much was typed too long ago, and not delivered
 * @property {string} [pages] which pages the gateway has
 * @property {{ ssh: string, local_port: number, tls: { port: number, hosts: string[] } | null } | null} [native]
 */

/** @typedef {"connecting" | "live" | "lost" | "locked" | "portal"} Link */

const ENDS = ["ended", "failed", "suspended"];
/** What is true of a session that a page has heard nothing of; the browser may have kept the page longer than it. */
export const UNHEARD = {
  title: "The session has not answered yet",
  text: "It may have ended, or the network may be down. This page goes on asking.",
  alone: true,
};
export const PHASES = ["preparing", "booting", "guest-up", "ready", "suspending", "stopping", ...ENDS];

// The stream has something to say every 1.5 s; a silence of this length is a broken line.
const SILENCE = 16_000;
/** In milliseconds: after this a plain question is asked, as a proxy may hold the stream back. */
const DOUBT = 2500;
/** In milliseconds: a user is told by now; what is typed on a silent line the gateway drops a second later. */
const SILENT = 4000;
/** In milliseconds: the page's own line is silent then. Before the answer may come 256 KiB of a picture, which is heard of when it is whole. */
const MUTE = 15_000;
/** In milliseconds: a line of the page's own that has not answered for so long, while others do, is dead. */
const DEAD = 30_000;
/** In milliseconds: a page that nobody has looked at for so long asks now and then, and has no stream. */
const ALONE = 20_000;
/** In milliseconds: how often, so that its title stays true. */
const GLANCE = 15_000;
/** In milliseconds: how often it is looked. */
const LOOK = 500;
/** In milliseconds: a page that has not looked for so long stood still itself, with what came meanwhile before it. */
const STOOD_STILL = 2000;
// For one answer, in milliseconds: the gateway has it at once, a slow network and a portal's proxy are between.
const PATIENCE = 10_000;

/** @param {Status} status */
export function isOver(status) {
  return ENDS.includes(status.phase);
}

/**
 * What people are told that it is a desktop of.
 * @param {Status} status
 */
export function called(status) {
  return status.title || status.image;
}

/**
 * @param {Status} status
 * @param {string} phase
 */
export function hasReached(status, phase) {
  return PHASES.indexOf(status.phase) >= PHASES.indexOf(phase) && !isOver(status) && status.phase !== "stopping";
}

/**
 * Emits "status" when there is news, "link" when the line to the session changes, "beat" with the server's time (epoch, in
 * seconds) whenever it is heard of, "silence" when the line falls silent or speaks again, and "dead" when the page's own
 * line has not answered for long, though the session does.
 */
export class Feed extends EventTarget {
  /** @type {Status | null} */
  status = null;
  /** @type {Link} */
  link = "connecting";
  /** Whether nothing is heard of the session, be it that it never was; or nothing on the page's own line. */
  silent = false;
  /** For how long the page's own line, as the desktop's, has not answered, in milliseconds. @type {() => number} */
  unanswered = () => 0;
  /** Whether a page that nobody looks at lets go of its stream: browsers have six connections for all pages of a host. */
  rests = false;
  #resting = false;
  /** When somebody looked at the page last. */
  #seen = 0;
  #looked = 0;
  #awake = 0;
  #heard = 0;
  /** The server's time when it was heard of last, in seconds since the epoch. */
  told = 0;
  #doubting = false;
  #doubted = 0;
  /** How far the server's clock is ahead, in milliseconds. */
  skew = 0;
  #backoff = new Backoff();
  /** @type {EventSource | undefined} */
  #stream;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #stopped = false;
  #leaving = false;

  start() {
    this.#heard = performance.now();
    this.#open();
    setInterval(() => this.#listen(), LOOK);
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#wake());
    addEventListener("pagehide", () => this.stop());
    // A page that comes back from the browser's cache has to start again.
    addEventListener("pageshow", (event) => {
      if (event.persisted) location.reload();
    });
  }

  stop() {
    this.#stopped = true;
    this.#close();
  }

  /** Epoch in milliseconds, by the server's clock. */
  now() {
    return Date.now() + this.skew;
  }

  /**
   * Asks once, now. Returns the link's state; the status is the last one known.
   * @param {boolean} final whether no answer means that the line is lost
   * @returns {Promise<Link>}
   */
  async ask(final = true) {
    try {
      const answer = await fetch("api/status", {
        headers: { Accept: "application/json" },
        signal: AbortSignal.timeout(PATIENCE),
        redirect: "manual",
      });
      const words = await answer.json().catch(() => null);
      const portals = isPortals(answer, words);
      // A page that the browser had kept leads to the portal's log-in by itself, as it does to ours.
      if ((portals || answer.status === 401) && !this.status && this.#fetchAnew()) return this.link;
      if (portals) return this.#set("portal");
      if (answer.status === 401 || answer.status === 403) return this.#set("locked");
      if (!answer.ok || !words) return final ? this.#set("lost") : this.link;
      this.#take(words);
      return this.link;
    } catch {
      return final ? this.#set("lost") : this.link;
    }
  }

  #open() {
    this.#close();
    if (this.#stopped || this.#resting) return;
    this.#stream = new EventSource("api/status");
    this.#stream.addEventListener("status", (event) => this.#take(JSON.parse(event.data)));
    this.#stream.addEventListener("beat", (event) => this.#beat(Number(event.data)));
    this.#stream.addEventListener("error", () => this.#broken());
    this.#watch();
  }

  #close() {
    clearTimeout(this.#timer);
    this.#stream?.close();
    this.#stream = undefined;
  }

  #watch() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#broken(), SILENCE);
  }

  /** @param {Status} status */
  #take(status) {
    if (status.pages && status.pages !== PAGES_VERSION && this.#fetchAnew()) return;
    this.status = status;
    this.#backoff.reset();
    this.#beat(status.now);
    this.dispatchEvent(new CustomEvent("status", { detail: status }));
    if (isOver(status)) this.stop();
  }

  /**
   * Asks for the page itself once more, as the browser may have kept it from another session at this address. What comes by a
   * reload is the gateway's own, so that is the last word. Only once: further answers come before the reload does, and would
   * begin another.
   * @returns {boolean} whether it is on its way
   */
  #fetchAnew() {
    const visits = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType("navigation"));
    if (visits[0]?.type === "reload") return false;
    if (!this.#leaving) location.reload();
    this.#leaving = true;
    this.stop();
    return true;
  }

  /** @param {number} now the server's time, in seconds since the epoch */
  #beat(now) {
    this.#heard = performance.now();
    this.told = now;
    this.skew = now * 1000 - Date.now();
    if (this.#stream) this.#watch();
    this.#set("live");
    if (this.#unanswered() <= MUTE) this.#hush(false);
    this.dispatchEvent(new CustomEvent("beat", { detail: now }));
  }

  #listen() {
    if (this.#stopped) return;
    const now = performance.now();
    if (now - this.#looked > STOOD_STILL) this.#awake = now;
    this.#looked = now;
    const quiet = now - this.#heard;
    if (document.visibilityState === "visible") this.#seen = now;
    if (this.rests && this.link === "live" && now - this.#seen > ALONE) this.#rest();
    if (this.#resting) return this.#glance(quiet, now);
    // A portal is asked in growing pauses (#broken).
    const due = Math.min(quiet, now - this.#doubted) > DOUBT;
    if (due && !this.#doubting && this.link !== "portal") void this.#doubt();
    const unanswered = this.#unanswered();
    if (quiet > SILENT || unanswered > MUTE) this.#hush(true);
    if (quiet < SILENT && unanswered > DEAD) this.dispatchEvent(new CustomEvent("dead"));
  }

  /** By what could be looked at. */
  #unanswered() {
    return Math.min(this.unanswered(), performance.now() - this.#awake);
  }

  async #doubt() {
    this.#doubting = true;
    this.#doubted = performance.now();
    await this.ask(this.#resting); // nobody else asks then
    this.#doubting = false;
  }

  /** @param {boolean} silent */
  #hush(silent) {
    if (silent === this.silent) return;
    this.silent = silent;
    this.dispatchEvent(new CustomEvent("silence", { detail: silent }));
  }

  // EventSource tells neither why it failed nor of a proxy that swallowed the stream: a plain question does.
  async #broken() {
    this.#close();
    if (this.#stopped || this.#resting) return;
    const pause = this.#backoff.next();
    const link = await this.ask();
    if (link === "locked") return this.stop();
    // A stream is asked for where somebody answers that we know.
    const again = link === "portal" ? () => void this.#broken() : () => this.#open();
    this.#timer = setTimeout(again, link === "live" ? 1000 : pause);
  }

  #rest() {
    this.#resting = true;
    this.#close();
  }

  /**
   * @param {number} quiet in milliseconds
   * @param {number} now
   */
  #glance(quiet, now) {
    if (Math.min(quiet, now - this.#doubted) > GLANCE && !this.#doubting) void this.#doubt();
    if (this.link === "locked") this.stop();
  }

  #wake() {
    this.#seen = performance.now();
    if (!this.#resting) return this.#hurry();
    this.#resting = false;
    this.#heard = performance.now(); // there was nothing to hear
    if (!this.#stopped) this.#open();
  }

  #hurry() {
    if (!["lost", "portal"].includes(this.link) || this.#stopped) return;
    this.#backoff.reset();
    this.#open();
  }

  /**
   * @param {Link} link
   * @returns {Link}
   */
  #set(link) {
    // What ends with the session is no lost connection.
    if (this.status && isOver(this.status)) link = "live";
    if (link !== this.link) {
      this.link = link;
      this.dispatchEvent(new CustomEvent("link", { detail: link }));
    }
    return link;
  }
}

/**
 * Shows the link's state on a page of text: in <body data-link> and the line #link.
 * @param {Feed} feed
 */
export function showLink(feed) {
  const line = /** @type {HTMLElement} */ (document.getElementById("link"));
  const show = () => {
    document.body.dataset["link"] = feed.link;
    line.hidden = !feed.silent && (feed.link === "live" || feed.link === "connecting");
    line.classList.toggle("bad", !line.hidden);
    if (!feed.status && !["locked", "portal"].includes(feed.link)) {
      line.textContent = `${UNHEARD.title}. ${UNHEARD.text}`;
      return;
    }
    if (feed.silent) line.textContent = "The line is silent. The session goes on; this page shows what it knew last.";
    if (feed.link === "lost") line.textContent = "Connection lost. The session goes on; trying to reach it again …";
    if (feed.link === "portal") line.replaceChildren(`${WANTS_LOGIN.title}. ${WANTS_LOGIN.text} `, toLogin());
    if (feed.link === "locked") {
      line.replaceChildren("This key is no longer valid: a new one was made, or you logged out. ", toLogin());
    }
  };
  feed.addEventListener("link", show);
  feed.addEventListener("silence", show);
  show();
}

function toLogin() {
  const link = document.createElement("a");
  link.href = "./";
  link.textContent = "Log in again";
  return link;
}

/**
 * "1 h 05 min", "4 min 10 s", "7.2 s".
 * @param {number} seconds
 */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole >= 3600) return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} min`;
  if (whole >= 60) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  return seconds < 10 ? `${Math.max(0, seconds).toFixed(1)} s` : `${whole} s`;
}

/** @param {number} number */
function pad(number) {
  return String(number).padStart(2, "0");
}
