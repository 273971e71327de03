// @ts-check
// A line that says nothing: told as long as it lasts, with the picture dimmed, for it is old. Nothing is typed meanwhile.

import { at } from "./dom.js";
import { WANTS_LOGIN } from "./portal.js";
import { toast } from "./tools.js";

/** @typedef {import("./session.js").Feed} Feed */

/**
 * Shows it in #silence and in <body data-line>, `silent` or `live`.
 * @param {Feed} feed
 * @param {() => boolean} connected
 * @param {() => void} letGo of all keys and buttons: what would let go of them later is not sent
 */
export function serveSilence(feed, connected, letGo) {
  let late = 0;
  const words = at("silence").textContent;
  const explain = () => {
    const portals = `${WANTS_LOGIN.title}. ${WANTS_LOGIN.text} What you type until then is not sent.`;
    at("silence").textContent = feed.link === "portal" ? portals : words;
  };
  feed.addEventListener("link", explain);
  feed.addEventListener("silence", () => {
    document.body.dataset["line"] = feed.silent ? "silent" : "live";
    at("silence").hidden = !feed.silent || !feed.status;
    if (!connected()) return;
    if (feed.silent) letGo();
    else toast("The line is back. What you typed or clicked while it was silent was not sent.");
  });
  feed.addEventListener("status", () => {
    const now = feed.status?.late_inputs ?? 0;
    if (now > late && connected()) toast("Some of what you typed was too long on its way, and was not sent on.");
    late = now;
  });
}
