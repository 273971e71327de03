// @ts-check
// The desktop page: logs in by itself, stays in, and says what is the matter when it cannot.

import { askedAhead, proxy, tab } from "./beginning.js";
import { Backoff } from "./lib/backoff.js";
import { repeatBeats } from "./lib/beats.js";
import { download } from "./lib/client-file.js";
import { CutOff, fetchRest } from "./lib/client-parts.js";
import { Clipboard } from "./lib/clipboard.js";
import { at, Refused } from "./lib/dom.js";
import { serveDownloadBar } from "./lib/download-bar.js";
import { Keys } from "./lib/keys.js";
import { servePointer } from "./lib/pointer.js";
import { PORTALS, WANTS_LOGIN } from "./lib/portal.js";
import { connect, Failure, load } from "./lib/rdp.js";
import { Feed, hasReached, isOver, UNHEARD } from "./lib/session.js";
import { serveSilence } from "./lib/silence.js";
import { askBeforeClosing, keepBackButtons } from "./lib/staying.js";
import { Menu, serveFullScreen, tellWayOut, toggleFullScreen, veil } from "./lib/tools.js";
import { lines, openAhead } from "./lib/true-colour.js";
import { over } from "./lib/words.js";
import { serveNotices, serveTitle } from "./lib/time-left.js";
import { isTouch, TouchBar } from "./lib/touch-bar.js";
import { alike, View, wantedSize } from "./lib/view.js";
import { serveNewerKeys } from "./login.js";

/** @typedef {import("./lib/rdp.js").Connection} Connection */
/** @typedef {import("./lib/tools.js").Words} Words */

/** A window at rest for this long, in milliseconds, is as large as it is meant to be. */
const REST = 700;
/** For this long, in milliseconds, the first picture has the line; then comes what is left of the client. */
const PICTURE_FIRST = 8000;
/** With this part of the client there, the last tenth takes longer than opening a line does. */
const NEARLY = 0.9;

/** Whether a link from elsewhere led here: it opens the desktop, but takes it from nobody. */
const led = location.search === "?asked-again";

const feed = new Feed();
const backoff = new Backoff();
const view = new View(at("view"));
/** @type {Connection | null} */
let connection = null;
/** Counts attempts, so that one overtaken by another knows it. */
let turn = 0;
/** Whether the guest's server makes its desktop as large as it is asked to. */
let follows = true;
/** In a row. */
let failures = 0;
let wayOutTold = false;
/** The client's rest was wanted before it was there, so that this one cannot be used again. */
let isCutOff = false;
/** @type {Words | null} Why the last attempt failed: it stays in sight during the next. */
let reason = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let fetching;

/** What can be typed into. */
const current = () => (feed.silent ? null : connection);
const isConnected = () => connection !== null;
/** Whether the page shows the guest's picture, be it that it is connecting anew behind it: hands mean the guest. */
let pictured = false;
const isPictured = () => pictured;
const keys = new Keys(at("stage"), at("typing"), current, () => menu.open());
const menu = new Menu(() => keys.focus());
const touchBar = new TouchBar((codes) => keys.chord(...codes));
keys.takeHeld = () => touchBar.take();
const clipboard = new Clipboard(at("clipboard"), current, (note) => {
  at("note").textContent = note;
});

/** Opens the desktop; `quiet` leaves the last picture in sight meanwhile. */
async function open(quiet = false) {
  const mine = ++turn;
  clearTimeout(timer);
  if (isCutOff) return beginAnew(mine);
  close();
  if (quiet) document.body.dataset["state"] = "resizing";
  else veil("connecting", reason ? { ...reason, text: "Trying again …" } : { title: "Connecting …" });
  try {
    const made = await attempt();
    if (mine !== turn) return made.close();
    await serve(made);
    if (mine === turn) await lost(mine, await made.ended);
  } catch (error) {
    if (mine === turn) await failed(mine, error);
  }
}

function close() {
  connection?.close();
  connection = null;
}

/**
 * The desktop's one size, when its server has but one. The client has to ask for just that: it does not survive a
 * server that makes it smaller or larger afterwards.
 */
function fixedSize() {
  const [width, height] = (feed.status?.screen ?? "").split("x").map(Number);
  return width && height ? { width, height } : null;
}

/** With nearly all of a newcomer's client there, the line is opened beside the rest. */
function openBeforeTheEnd() {
  const open = (/** @type {Event} */ event) => {
    const { done, total } = /** @type {CustomEvent<import("./lib/client-file.js").Progress>} */ (event).detail;
    if (done < NEARLY * total) return;
    download.removeEventListener("progress", open);
    if (!feed.status || hasReached(feed.status, "ready")) openAhead(proxy());
  };
  download.addEventListener("progress", open);
}

async function attempt() {
  performance.mark("7lbd-connect");
  const login = await askedAhead();
  const canvas = document.createElement("canvas");
  const size = fixedSize() ?? wantedSize(view.room);
  Object.assign(canvas, size);
  const made = await connect({
    login,
    size,
    canvas,
    proxy: proxy(),
    onCursor: (css) => {
      canvas.style.cursor = css;
    },
    onSize: () => view.lay(),
    onClipboard: feed.status?.clipboard ? (data) => void clipboard.received(data) : null,
    onClipboardWanted: () => void clipboard.announce(),
  });
  // A server of one size would be asked again and again.
  follows = !fixedSize() && alike(made.size, size);
  Object.assign(canvas, made.size);
  return made;
}

/** @param {Connection} made */
async function serve(made) {
  connection = made;
  pictured = true;
  view.show(made.canvas);
  veil("connected");
  reason = null;
  document.body.dataset["size"] = `${made.size.width}x${made.size.height}`;
  performance.mark("7lbd-connected");
  if (!wayOutTold) tellWayOut();
  wayOutTold = true;
  backoff.reset();
  failures = 0;
  if (!menu.isOpen) keys.focus();
  fetching = setTimeout(fetchRest, PICTURE_FIRST);
  await clipboard.enable(feed.status?.clipboard === true);
}

/**
 * A connection that stood is gone: was it the session, another tab, the guest, or the network?
 * @param {number} mine
 * @param {string} word the server's, when it took leave
 */
async function lost(mine, word) {
  if (mine !== turn) return; // one that was given up ends when it does, and another stands
  connection = null;
  keys.release();
  await feed.ask();
  if (mine !== turn || stands()) return;
  if (word) {
    pictured = false;
    return veil("closed", { title: "The guest closed the connection", text: word, again: "Connect again" });
  }
  retry(mine, { title: "Connection lost" });
}

/**
 * @param {number} mine
 * @param {unknown} error
 */
async function failed(mine, error) {
  connection = null;
  const failure = words(error);
  await feed.ask();
  if (mine !== turn || stands()) return;
  const text = { title: failure.message, hint: failure.hint, native: true };
  failures++;
  if (failures >= failure.tries) {
    pictured = false;
    return veil("refused", { ...text, again: "Try again" });
  }
  retry(mine, text);
}

/** @param {unknown} error */
function words(error) {
  if (error instanceof Failure) return error;
  if (error instanceof Refused) {
    if (error.status === PORTALS) return new Failure(WANTS_LOGIN.title, error.hint);
    if (error.status === 403) return new Failure("This key does not open the desktop", "", 1);
    return new Failure(`The gateway says: ${error.message}`, error.hint);
  }
  return new Failure("The session does not answer");
}

/**
 * @param {number} mine
 * @param {Words} text
 */
function retry(mine, text) {
  reason = text;
  const pause = backoff.next();
  const soon = pause < 2000 ? "Trying again …" : `Trying again in ${Math.round(pause / 1000)} s …`;
  veil("reconnecting", { ...text, text: soon, again: "Try now" });
  timer = setTimeout(() => mine === turn && void openAgain(mine, text), pause);
}

function openByHand() {
  backoff.reset();
  void (isCutOff ? beginAnew(++turn, true) : open());
}

/**
 * Without its user's word it is taken from nobody: it may have been opened elsewhere since.
 * @param {number} mine
 * @param {Words} text
 */
async function openAgain(mine, text) {
  const link = await feed.ask();
  if (mine !== turn || stands()) return;
  if (link === "live") return open();
  retry(mine, text);
}

/** The line is dead, and nobody has said so: others to the session live. */
function giveUpLine() {
  if (!connection) return;
  const mine = ++turn;
  connection = null;
  for (const line of lines) line.close();
  void lost(mine, "");
}

/**
 * Whether there is a reason not to connect now, which is then shown.
 * @param {boolean} meant by the user, who may take the desktop from elsewhere
 */
function stands(meant = false) {
  const status = feed.status;
  if (feed.link === "locked") {
    return put("locked", { title: "This key is no longer valid", text: "Log in again from the status page." });
  }
  // A connection that stands needs nothing of the portal.
  if (feed.link === "portal" && !connection) return put("portal", { ...WANTS_LOGIN, again: "Log in again" });
  if (!status) return false;
  const end = over(status);
  if (end) return put(status.phase, end);
  if (status.role !== "desktop") return put("refused", { title: "This key does not open the desktop" });
  if (status.phase === "suspending") {
    const text = "It stands still, and is written to a file from which it goes on later.";
    return put("stopping", { title: "The desktop is being suspended", text });
  }
  if (status.phase === "stopping") {
    const text = "The guest saves what it has to and switches itself off.";
    return put("stopping", { title: "The desktop is shutting down", text });
  }
  if (!hasReached(status, "ready")) {
    return put("waiting", { title: "The desktop is not ready yet", text: "It opens here as soon as it is." });
  }
  if (!meant && feed.link === "live" && status.viewer && status.viewer !== tab) {
    const text = "It can be shown in one place at a time.";
    return put("taken", { title: "The desktop is open elsewhere", text, again: "Take it back" });
  }
  return false;
}

/**
 * @param {string} state
 * @param {Words} text
 */
function put(state, text) {
  turn++;
  clearTimeout(timer);
  close();
  pictured = false;
  reason = null;
  veil(state, text);
  return true;
}

let started = false;

function onStatus() {
  const status = feed.status;
  if (!status) return;
  const state = document.body.dataset["state"] ?? "";
  if (!started) {
    // The newest window gets the desktop, so another viewer is no reason not to begin.
    if (hasReached(status, "ready") && status.role === "desktop") started = true;
    return started && !(led && stands()) ? void open() : void stands();
  }
  if (isOver(status)) stands();
  else if (["waiting", "stopping", "portal"].includes(state) && !stands()) void open();
}

function onLink() {
  if (feed.link === "live" && document.body.dataset["state"] === "portal" && started && !stands()) return void open();
  if (feed.link === "locked" || (feed.link === "portal" && !started)) stands();
  else if (!feed.status && (feed.silent || feed.link === "lost")) veil("loading", UNHEARD);
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let resting;

/** The guest gets as large as the window, by a new connection: resizing one that stands is not reliable. */
function follow() {
  clearTimeout(resting);
  resting = setTimeout(() => {
    if (!connection || feed.silent || !follows || view.real || view.zoom !== 1) return;
    // The keyboard of a phone takes half of the window, for as long as it is needed.
    if (keys.asText && isTouch) return;
    if (!alike(connection.size, wantedSize(view.room))) void open(true);
  }, REST);
}

/** @param {boolean} shown */
function showTouchBar(shown) {
  touchBar.show(shown);
  at("touch").setAttribute("aria-pressed", String(shown));
}

function serveMenu() {
  serveFullScreen();
  menu.on("full", () => void toggleFullScreen());
  menu.on("cad", () => keys.chord("ControlLeft", "AltLeft", "Delete"));
  menu.on("meta", () => keys.chord("MetaLeft"));
  menu.on("reconnect", openByHand);
  menu.on("scale", () => {
    view.setReal(!view.real);
    at("scale").setAttribute("aria-pressed", String(view.real));
    follow();
  });
  menu.on("keys", () => {
    keys.setAsText(!keys.asText);
    at("keys").setAttribute("aria-pressed", String(keys.asText));
    if (isTouch) showTouchBar(keys.asText);
  });
  menu.on("touch", () => showTouchBar(!touchBar.isShown));
  at("again").addEventListener("click", () => {
    if (["crashed", "portal"].includes(document.body.dataset["state"] ?? "")) return location.reload();
    openByHand();
  });
}

/**
 * A client that has broken down cannot be used again: the page has to begin anew, by its user's word, so that it does
 * not go round for ever.
 * @param {unknown} reason
 */
function onCrash(reason) {
  if (isCutOff || !(reason instanceof WebAssembly.RuntimeError)) return;
  connection = null; // nothing more is to be asked of it
  put("crashed", {
    title: "The desktop's client broke down",
    text: "Nothing in the guest is lost by that.",
    again: "Start it again",
    native: true,
  });
}

/**
 * The client needs what is not there yet: the page begins anew as soon as there is a line, with all of it.
 * @param {ErrorEvent | PromiseRejectionEvent} event
 * @param {unknown} reason
 */
function onCutOff(event, reason) {
  if (!(reason instanceof CutOff)) return;
  event.preventDefault();
  if (isCutOff) return;
  isCutOff = true;
  clearTimeout(fetching); // with the rest it would go on from where it cannot
  connection = null;
  pictured = false;
  keys.release();
  void open();
}

/**
 * @param {number} mine
 * @param {boolean} meant by the user, who may take the desktop from elsewhere
 */
async function beginAnew(mine, meant = false) {
  const text = "This desktop needs all of its client: it is fetched as soon as the line is there.";
  veil("reconnecting", { title: "One moment …", text, again: "Try now" });
  const link = await feed.ask();
  if (mine !== turn || stands(meant)) return;
  if (link === "live") return location.reload();
  timer = setTimeout(() => mine === turn && void beginAnew(mine, meant), backoff.next());
}

function main() {
  // Nothing more is heard of a session whose key is over: the new one's page is another.
  void serveNewerKeys(() => feed.link === "locked" && location.reload());
  if (led) history.replaceState(null, "", location.pathname);
  serveMenu();
  if (isTouch) at("keys").textContent = "Keyboard";
  at("touch").hidden = !isTouch;
  if (typeof WebAssembly === "undefined") {
    return veil("unsupported", {
      title: "This browser has no WebAssembly",
      text: "The desktop needs it. Some browsers switch it off in their strictest mode; another browser, or a native client, will do.",
      native: true,
    });
  }
  addEventListener("error", (event) => onCutOff(event, event.error));
  addEventListener("unhandledrejection", (event) => onCutOff(event, event.reason));
  addEventListener("error", (event) => onCrash(event.error));
  addEventListener("unhandledrejection", (event) => onCrash(event.reason));
  servePointer(at("stage"), view, current);
  keys.pasteFirst = (event) => {
    if (!clipboard.holdsBack(event)) return false;
    // The browser's own paste comes first, and with it what there is to paste; then the guest gets its key: a paste takes
    // a millisecond or two, and nobody feels thirty.
    setTimeout(() => keys.paste(event.metaKey), 30);
    return true;
  };
  new ResizeObserver(follow).observe(at("stage"));
  feed.addEventListener("status", onStatus);
  feed.addEventListener("link", onLink);
  feed.addEventListener("silence", onLink);
  feed.addEventListener("silence", follow);
  repeatBeats(feed, () => (connection ? [...lines].map((line) => line.beats) : []));
  feed.addEventListener("dead", giveUpLine);
  serveSilence(feed, isConnected, () => {
    keys.release();
    connection?.releaseAll();
  });
  serveTitle(feed, () => "Desktop");
  serveNotices(feed);
  keepBackButtons(isPictured);
  askBeforeClosing(isPictured);
  addEventListener("pagehide", close);
  serveDownloadBar();
  openBeforeTheEnd();
  feed.start();
  load().catch(() => {});
}

main();
