// @ts-check
// The console page: QEMU's screen and keyboard, from the firmware on.

import { at } from "./lib/dom.js";
import { GuestScreen } from "./lib/guest-screen.js";
import { Feed, hasReached, isOver } from "./lib/session.js";
import { Menu, serveFullScreen, toggleFullScreen, veil } from "./lib/tools.js";

const feed = new Feed();
let [real, watching] = [false, false];

const screen = new GuestScreen(at("stage"), (rfb) => {
  rfb.background = "#000";
  rfb.scaleViewport = !real;
  rfb.viewOnly = watching;
  rfb.focusOnClick = true;
});

function show() {
  const status = feed.status;
  if (feed.link === "locked") {
    screen.off();
    return veil("locked", { title: "This key is no longer valid", text: "Log in again from the status page." });
  }
  if (status && isOver(status)) {
    screen.off();
    const title = status.phase === "failed" ? "The session failed" : "The session has ended";
    return veil(status.phase, { title, text: status.reason, hint: status.hint });
  }
  if (status && !(status.console && status.role !== "status")) {
    return veil("refused", { title: "This key does not open the console" });
  }
  if (!status || !hasReached({ ...status, phase: status.phase === "stopping" ? "ready" : status.phase }, "booting")) {
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

function main() {
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
    if (screen.rfb) screen.rfb.viewOnly = watching;
  });
  at("again").addEventListener("click", reconnect);
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
  });
  feed.addEventListener("status", show);
  feed.addEventListener("link", show);
  feed.start();
}

main();
