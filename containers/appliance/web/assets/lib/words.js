// @ts-check
// What is true in each phase, in words for a user. tests/session/test_web_words.py holds them, page by page.

import { isOver } from "./session.js";

/** @typedef {import("./session.js").Status} Status */
/** @typedef {import("./tools.js").Words} Words */

/** @type {Record<string, string>} */
const OVER = {
  ended: "The session has ended",
  failed: "The session failed",
  suspended: "The desktop is suspended",
};

/**
 * Why nothing of the session can be shown any more; nothing while it can. Nobody serves its pages then.
 * @param {Status} status
 * @returns {Words | null}
 */
export function over(status) {
  if (!isOver(status)) return null;
  return { title: OVER[status.phase] ?? "", text: status.reason, hint: status.hint, alone: true };
}

/** @type {Record<string, string>} */
const NATIVE = {
  preparing: "The machine is being prepared. Your client gets through when the desktop is ready.",
  booting: "The desktop is starting. Your client gets through when it is ready.",
  "guest-up": "The desktop is almost ready. Your client gets through when it is.",
  ready: "",
  suspending: "The desktop is being suspended: it stands still, and clients are cut off.",
  stopping: "The desktop is shutting down. No client gets through any more.",
  ended: "The session has ended. What is below leads nowhere any more.",
  failed: "The session failed. What is below leads nowhere any more.",
  suspended: "The desktop is suspended. It goes on by a session of its own, with other addresses than those below.",
};

/**
 * What keeps a native client out; empty when nothing does.
 * @param {Status} status
 */
export function native(status) {
  return NATIVE[status.phase] ?? "";
}

/**
 * For the sentences that say when something ends: `14:05`.
 * @param {number} epoch in seconds
 */
export function clock(epoch) {
  return new Date(epoch * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}
