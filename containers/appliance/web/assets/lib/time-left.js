// @ts-check
// When a session ends, and how long that is from now: in the title of each page, and as a notice on the picture.

import { at } from "./dom.js";
import { isOver } from "./session.js";
import { clock } from "./words.js";

/** @typedef {import("./session.js").Feed} Feed */

/** In seconds before the end; the guest shows its own at the same times (`end_notice`, and a minute before). */
const NOTICES = [300, 60];
/** In milliseconds: long enough to be read by somebody who is at work. The last one stays. */
const READ = 20_000;

/**
 * Seconds until its time is up; Infinity when nobody knows of a limit.
 * @param {Feed} feed
 */
function left(feed) {
  const status = feed.status;
  if (!status?.ends_at || isOver(status) || status.phase === "stopping") return Infinity;
  return status.ends_at - feed.now() / 1000;
}

/** @param {number} seconds */
function minutes(seconds) {
  const whole = Math.max(1, Math.ceil(seconds / 60));
  if (whole < 60) return `${whole} min left`;
  return `${Math.floor(whole / 60)} h ${String(whole % 60).padStart(2, "0")} min left`;
}

/**
 * Keeps the page's title.
 * @param {Feed} feed
 * @param {() => string} name
 */
export function serveTitle(feed, name) {
  const show = () => {
    const seconds = left(feed);
    const title = [name(), ...(Number.isFinite(seconds) ? [minutes(seconds)] : []), "7lbd"].join(" · ");
    if (document.title !== title) document.title = title;
  };
  feed.addEventListener("status", show);
  setInterval(show, 1000);
  show();
}

/**
 * Shows the notices in #last-minutes.
 * @param {Feed} feed
 */
export function serveNotices(feed) {
  let told = Infinity;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const show = () => {
    const seconds = left(feed);
    const due = Math.min(...NOTICES.filter((notice) => seconds <= notice), Infinity);
    if (due === told) return;
    told = due;
    const line = at("last-minutes");
    clearTimeout(timer);
    line.hidden = due === Infinity;
    const when = due === NOTICES.at(-1) ? "within a minute" : `in ${Math.ceil(seconds / 60)} minutes`;
    line.textContent = `This session ends at ${clock(feed.status?.ends_at ?? 0)}, ${when}. Save your work.`;
    if (due !== NOTICES.at(-1)) timer = setTimeout(() => (line.hidden = true), READ);
  };
  feed.addEventListener("status", show);
  setInterval(show, 1000);
}
