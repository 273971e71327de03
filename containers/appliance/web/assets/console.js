// @ts-check
// The console page: QEMU's screen and keyboard, from the firmware on.

import { repeatBeats } from "./lib/beats.js";
import { chord, type } from "./lib/console-keys.js";
import { at } from "./lib/dom.js";
import { GuestScreen } from "./lib/guest-screen.js";
import { WANTS_LOGIN } from "./lib/portal.js";
import { Feed, hasReached, UNHEARD } from "./lib/session.js";
import { serveSilence } from "./lib/silence.js";
import { askBeforeClosing, keepBackButtons } from "./lib/staying.js";
import { serveNotices, serveTitle } from "./lib/time-left.js";
import { over } from "./lib/words.js";
import { Menu, serveFullScreen, tellWayOut, toggleFullScreen, veil } from "./lib/tools.js";
import { isTouch, TouchBar } from "./lib/touch-bar.js";
import { Typing } from "./lib/typing.js";
import { serveNewerKeys } from "./login.js";

const feed = new Feed();
let [real, watching, wayOutTold] = [false, false, false];

const screen = new GuestScreen(at("stage"), (rfb) => {
  rfb.background = "#000";
  rfb.scaleViewport = !real;
  rfb.viewOnly = watching || feed.silent;
  rfb.focusOnClick = true;
});

function show() {
  const status = feed.status;
  if (feed.link === "portal" && screen.state !== "connected") {
    screen.off();
    return veil("portal", { ...WANTS_LOGIN, again: "Log in again" });
  }
  if (feed.link === "locked") {
    screen.off();
    return veil("locked", { title: "This key is no longer valid", text: "Log in again from the status page." });
  }
  const end = status && over(status);
  if (end) {
    screen.off();
    return veil(status.phase, end);
  }
  if (status && !(status.console && status.role !== "status")) {
    return veil("refused", { title: "This key does not open the console" });
  }
  if (!status) return veil("loading", feed.silent || feed.link === "lost" ? UNHEARD : { title: "Connecting …" });
  if (!hasReached({ ...status, phase: status.phase === "stopping" ? "ready" : status.phase }, "booting")) {
    return veil("waiting", { title: "The machine is not running yet", text: "The console opens as soon as it does." });
  }
  screen.on();
  if (screen.state === "connected") return veil("connected");
  if (screen.state === "waiting") {
    return veil("reconnecting", { title: "Connection lost", text: "Trying again …", again: "Try now" });
  }
  return veil("connecting", { title: "Connecting …" });
}

function reconnect() {
  screen.off();
  show();
}

/** @param {string} id @param {boolean} pressed */
function press(id, pressed) {
  at(id).setAttribute("aria-pressed", String(pressed));
}

/** @param {Menu} menu */
function serveTouch(menu) {
  const bar = new TouchBar((codes) => chord(screen.rfb, codes));
  const show = (/** @type {boolean} */ shown) => {
    bar.show(shown);
    press("touch", shown);
  };
  at("touch").hidden = at("keys").hidden = !isTouch;
  menu.on("touch", () => show(!bar.isShown));
  menu.on("keys", () => {
    show(true);
    at("typing").focus({ preventScroll: true });
  });
  new Typing(at("typing"), {
    press: (code) => chord(screen.rfb, [...bar.take(), code]),
    type: (letter) => type(screen.rfb, letter, bar.take()),
    mend: () => chord(screen.rfb, ["Backspace"]),
  });
}

function main() {
  // Nothing more is heard of a session whose key is over: the new one's page is another.
  void serveNewerKeys(() => feed.link === "locked" && location.reload());
  const menu = new Menu(() => screen.rfb?.focus());
  serveFullScreen();
  menu.on("full", () => void toggleFullScreen());
  menu.on("cad", () => screen.rfb?.sendCtrlAltDel());
  menu.on("reconnect", reconnect);
  menu.on("scale", () => {
    real = !real;
    document.body.dataset["scale"] = real ? "real" : "fit";
    press("scale", real);
    if (screen.rfb) screen.rfb.scaleViewport = !real;
  });
  menu.on("watch", () => {
    watching = !watching;
    press("watch", watching);
    if (screen.rfb) screen.rfb.viewOnly = watching || feed.silent;
  });
  serveTouch(menu);
  at("again").addEventListener("click", () => {
    if (document.body.dataset["state"] === "portal") return location.reload();
    reconnect();
  });
  addEventListener(
    "keydown",
    (event) => {
      if (event.code !== "Home" || !event.ctrlKey || !event.altKey || menu.isOpen) return;
      event.preventDefault();
      event.stopPropagation();
      menu.open();
    },
    { capture: true },
  );
  screen.addEventListener("state", () => {
    show();
    if (screen.state === "connected" && !menu.isOpen) screen.rfb?.focus();
    if (screen.state === "connected" && !wayOutTold) tellWayOut();
    wayOutTold ||= screen.state === "connected";
  });
  feed.addEventListener("status", show);
  feed.addEventListener("link", show);
  feed.addEventListener("silence", show);
  const isConnected = () => screen.state === "connected";
  repeatBeats(feed, () => (screen.beats && isConnected() ? [screen.beats] : []));
  feed.addEventListener("dead", reconnect);
  serveSilence(feed, isConnected, () => {});
  feed.addEventListener("silence", () => {
    // noVNC lets go of what is held when it becomes a mere view.
    if (screen.rfb) screen.rfb.viewOnly = watching || feed.silent;
  });
  serveTitle(feed, () => "Console");
  serveNotices(feed);
  const isPictured = () => wayOutTold && screen.state !== "off";
  keepBackButtons(isPictured);
  askBeforeClosing(isPictured);
  if (location.search) history.replaceState(null, "", location.pathname);
  feed.start();
}

main();
