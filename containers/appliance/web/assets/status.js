// @ts-check
// The status page: how far the session is, and the ways in as they open.

import { fetchAhead } from "./lib/client-file.js";
import { at, make, post, sentence, tell } from "./lib/dom.js";
import { called, duration, Feed, hasReached, isOver, showLink } from "./lib/session.js";
import { serveTitle } from "./lib/time-left.js";
import { clock } from "./lib/words.js";
import { serveNewerKeys } from "./login.js";

/** @typedef {import("./lib/session.js").Status} Status */

/** @type {Record<string, string>} */
const HEADLINES = {
  preparing: "Getting things ready",
  booting: "The guest is booting",
  "guest-up": "Almost there",
  ready: "Your desktop is ready",
  suspending: "The desktop is being suspended",
  suspended: "The desktop is suspended",
  stopping: "The desktop is shutting down",
  ended: "The session has ended",
  failed: "The session failed",
};

/** @type {Record<string, string>} */
const LEDES = {
  preparing: "The machine is being put together.",
  booting: "A virtual machine is starting, as a computer does when it is switched on.",
  "guest-up": "The guest is up. Its password is being set, and its remote desktop starts.",
  ready: "It opens in this browser, or in a remote desktop client of your own.",
  suspending: "It stands still, and is written to a file from which it goes on later.",
  suspended: "It goes on from its file whenever you want.",
  stopping: "The guest saves what it has to and switches itself off.",
  ended: "Nothing of it is left on the node. You can close this page.",
  failed: "Nothing of it is left on the node but its logs.",
};

/**
 * For whom it is another's desktop.
 * @type {Record<string, string>}
 */
const OTHERS_LEDES = {
  ready: "This key shows how the session goes. It opens neither the desktop nor the console.",
  suspended: "It goes on from its file whenever its owner wants.",
};
const CONSOLE_LEDE = "This key opens its console, the machine’s own screen.";

/** @param {Status} status */
function headline(status) {
  if (status.phase === "ready" && status.role !== "desktop") return "The desktop is ready";
  return HEADLINES[status.phase] ?? status.phase;
}

/** @param {Status} status */
function lede(status) {
  const usual = LEDES[status.phase] ?? "";
  if (status.role === "desktop") return usual;
  if (status.phase === "ready" && status.role === "console" && status.console) return CONSOLE_LEDE;
  return OTHERS_LEDES[status.phase] ?? usual;
}

const STEPS = [
  { name: "preparing", doing: "Preparing the machine", title: "Machine prepared", done: "booting" },
  { name: "booting", doing: "Booting the guest", title: "Guest booted", done: "guest-up" },
  { name: "guest-up", doing: "Preparing the log-in", title: "Log-in prepared", done: "ready" },
];

/** @type {Record<string, string>} */
const MILESTONES = {
  thawed: "machine runs again",
  clock: "clock right",
  session: "guest knows its user",
  dhcp: "network there",
  "ready-line": "guest ready",
  agent: "guest answers",
  password: "password set",
  rdp: "remote desktop answers",
  logon: "first log-on done",
  flushed: "files written",
  notice: "end announced",
};

/** In seconds: twice as long before the end as the guest's own notice comes by itself (`end_notice`). */
const LAST_MINUTES = 10 * 60;

const feed = new Feed();

// What came of the last order: the session's next word must not wipe it away before it is read.
let unheard = "";

/** @param {string} text */
function complain(text) {
  unheard = text;
  tell("hint", text);
}

/** @param {Status} status */
function show(status) {
  if (document.body.dataset["phase"] !== status.phase) unheard = "";
  document.body.dataset["phase"] = status.phase;
  tell("where", `${called(status)} on ${status.host}`);
  tell("headline", headline(status));
  tell("lede", isOver(status) && status.reason ? sentence(status.reason) : lede(status));
  tell("hint", isOver(status) ? sentence(status.hint) : unheard);
  tell("paused", status.paused && !isOver(status) ? `The guest stands still: ${status.paused}` : "");
  showEmulation(status);
  const ways = isOver(status) ? [] : status.ways_out.map((text) => `Ways out: ${text}`);
  showWarnings([...ways, ...status.warnings.filter((warning) => !EMULATION.test(warning))]);
  showWays(status);
  showProgress(status);
  showFacts(status);
  /** @type {HTMLButtonElement} */ (at("suspend")).hidden = status.phase !== "ready";
  at("ending").hidden = status.role !== "desktop" || isOver(status) || status.phase === "stopping";
}

const EMULATION = /software emulation/i;

/** @param {Status} status */
function showEmulation(status) {
  at("emulation").hidden = status.accel !== "tcg" || isOver(status);
  const told = status.warnings.find((warning) => EMULATION.test(warning)) ?? "";
  const why =
    sentence(told.replace(/^NO KVM: */, "").replace(/; whoever runs this one.*/, "")) ||
    "The desktop is many times slower than on a node with KVM.";
  tell("emulation-why", why);
}

/** @param {string[]} warnings */
function showWarnings(warnings) {
  const list = at("warnings");
  list.hidden = warnings.length === 0;
  const told = JSON.stringify(warnings);
  if (list.dataset["told"] === told) return;
  list.dataset["told"] = told;
  list.replaceChildren(...warnings.map((warning) => make("li", {}, sentence(warning))));
}

/** @param {Status} status */
function showWays(status) {
  const up = hasReached(status, "booting");
  at("ways").hidden = status.role === "status" || isOver(status);
  way("to-desktop", "desktop", status.role === "desktop", hasReached(status, "ready"));
  way("to-console", "console", status.console, up);
  way("to-native", "native", status.role === "desktop", up);
  at("auto").hidden = status.role !== "desktop" || hasReached(status, "ready") || !hasReached(status, "preparing");
}

/**
 * @param {string} id
 * @param {string} href
 * @param {boolean} allowed
 * @param {boolean} open
 */
function way(id, href, allowed, open) {
  const link = at(id);
  link.hidden = !allowed;
  if (open) {
    link.setAttribute("href", href);
    link.removeAttribute("aria-disabled");
  } else {
    link.removeAttribute("href");
    link.setAttribute("aria-disabled", "true");
  }
}

/** @param {Status} status */
function showProgress(status) {
  const rows = STEPS.map((step) => {
    const end = status.phases[step.done];
    const current = status.phase === step.name;
    const begin = step.name === "preparing" ? 0 : status.phases[step.name];
    const title = current ? step.doing : step.title;
    return row(step.name, title, begin, end, current, step.done === "ready" ? milestones(status) : "");
  });
  for (const name of ["suspending", "suspended", "stopping", "ended", "failed"]) {
    const when = status.phases[name];
    if (when !== undefined) rows.push(row(name, HEADLINES[name] ?? name, when, when, false, ""));
  }
  at("phases").replaceChildren(...rows);
}

/** @param {Status} status */
function milestones(status) {
  const reached = Object.entries(status.milestones).sort((a, b) => a[1] - b[1]);
  return reached
    .map(([name, when]) => `${MILESTONES[name] ?? name} ${duration(when)}`.replaceAll(" ", "\u00a0"))
    .join(" · ");
}

/**
 * @param {string} name
 * @param {string} title
 * @param {number | undefined} begin seconds since the start
 * @param {number | undefined} end seconds since the start
 * @param {boolean} current
 * @param {string} sub
 */
function row(name, title, begin, end, current, sub) {
  const time = make("time", {});
  const item = make("li", { "data-name": name }, make("span", {}, title), time);
  if (end !== undefined) {
    item.dataset["reached"] = String(end);
    time.textContent = duration(end);
  } else if (current && begin !== undefined) {
    item.dataset["busy"] = String(begin);
    item.setAttribute("aria-current", "step");
  }
  if (sub) item.append(make("span", { class: "sub" }, sub));
  return item;
}

/** @param {Status} status */
function showFacts(status) {
  /** @type {[string, string | Node][]} */
  const facts = [
    ["Image", called(status)],
    ["Node", status.host],
    ["Started", new Date(status.started * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })],
    ["Processor", status.accel === "tcg" ? "software emulation" : status.accel.toUpperCase()],
  ];
  if (status.title) facts.splice(1, 0, ["Version", status.image]);
  if (status.ends_at && !isOver(status)) {
    facts.push(["Ends at", clock(status.ends_at)], ["Time left", make("span", { id: "left" })]);
  }
  at("facts").replaceChildren(
    ...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
  );
  tick();
}

function tick() {
  const status = feed.status;
  if (!status) return;
  const elapsed = feed.now() / 1000 - status.started;
  const time = document.querySelector("#phases [data-busy] time");
  if (time) time.textContent = duration(Math.floor(elapsed));
  const left = document.getElementById("left");
  const seconds = status.ends_at - feed.now() / 1000;
  if (left) left.textContent = seconds > 0 ? duration(seconds) : "none";
  const hurry = status.ends_at > 0 && seconds < LAST_MINUTES && !isOver(status) && status.phase !== "stopping";
  // To the minute, so that it is not read out each second.
  const minutes = Math.max(0, Math.ceil(seconds / 60));
  tell(
    "hurry",
    hurry ? `Save your work: the session ends in ${minutes === 1 ? "1 minute" : `${minutes} minutes`}.` : "",
  );
}

/** @type {import("./lib/guest-screen.js").GuestScreen | undefined} */
let screen;

async function showPicture() {
  const status = feed.status;
  const wanted =
    status !== null &&
    status.console &&
    status.role !== "status" &&
    ["booting", "guest-up"].includes(status.phase) &&
    document.visibilityState === "visible";
  at("picture").hidden = !(
    status?.console &&
    status.role !== "status" &&
    ["booting", "guest-up"].includes(status.phase)
  );
  if (!wanted) return screen?.off();
  if (!screen) {
    // A session that ends meanwhile leaves nobody to ask; otherwise the next news tries again.
    const module = await import("./lib/guest-screen.js").catch(() => null);
    if (!module) return;
    screen ??= new module.GuestScreen(at("screen"), (rfb) => {
      rfb.viewOnly = true;
      rfb.scaleViewport = true;
      rfb.background = "#000";
    });
    return showPicture();
  }
  screen.on();
}

/** Whether the desktop is to open by itself, as chosen in this browser; null when it keeps nothing. */
function keptChoice() {
  try {
    return localStorage.getItem("7lbd-auto-open");
  } catch {
    return null;
  }
}

/** @param {boolean} opens */
function keepChoice(opens) {
  try {
    localStorage.setItem("7lbd-auto-open", opens ? "yes" : "no");
  } catch {
    // It is the choice for as long as this page is there.
  }
}

/** Opens the desktop for those who saw it start and asked for it. */
function autoOpen() {
  const box = /** @type {HTMLInputElement} */ (at("auto-open"));
  const kept = keptChoice();
  if (kept !== null) box.checked = kept === "yes";
  box.addEventListener("change", () => keepChoice(box.checked));
  // Once: somebody who has seen the desktop, wherever that was, is not led there again.
  let waits = false;
  return () => {
    const status = feed.status;
    if (!status || status.role !== "desktop") return;
    if (STEPS.some((step) => step.name === status.phase)) waits = true;
    else if (status.phase !== "ready" || status.viewer || !box.checked) waits = false;
    if (!waits || status.phase !== "ready" || document.visibilityState !== "visible") return;
    waits = false;
    location.assign("desktop");
  };
}

/**
 * Brings the desktop's largest part into the browser's cache while the guest boots, and is to be looked at only. When it
 * is ready, whoever wants the desktop fetches it there; what is on this page comes first on a slow line.
 */
let warmed = false;
function warmUp() {
  const status = feed.status;
  const boots = status && !hasReached(status, "ready") && !isOver(status) && status.phase !== "stopping";
  if (warmed || !boots || status.role !== "desktop" || typeof WebAssembly === "undefined") return;
  warmed = true;
  void fetchAhead();
}

/**
 * Gives the session an order: now, or not at all. What waited on a silent line would come when nobody expects it.
 * @param {string} path
 * @param {object} [body]
 */
async function order(path, body = {}) {
  complain("");
  if (feed.silent || feed.link !== "live") throw new Error("the line to the session is silent");
  await post(path, { ...body, heard: feed.told });
}

/**
 * What is known of an order that was not acknowledged.
 * @param {string} name
 * @param {unknown} error
 */
function fate(name, error) {
  const unknown = error instanceof DOMException && error.name === "TimeoutError";
  if (unknown) return `Nobody has answered to the order to ${name}: whether it got through, this page will show.`;
  return `The order to ${name} did not get through: ${error instanceof Error ? error.message : error}.`;
}

function serveSuspend() {
  at("suspend").addEventListener("click", async () => {
    try {
      await order("api/suspend");
    } catch (error) {
      complain(fate("suspend", error));
    }
  });
}

function serveStop() {
  const dialog = /** @type {HTMLDialogElement} */ (at("stop-dialog"));
  const now = /** @type {HTMLInputElement} */ (at("stop-now"));
  at("stop").addEventListener("click", () => {
    now.checked = false;
    dialog.returnValue = "keep";
    dialog.showModal();
  });
  dialog.addEventListener("close", async () => {
    if (dialog.returnValue !== "stop") return;
    try {
      await order("api/stop", { now: now.checked });
    } catch (error) {
      complain(fate("stop", error));
    }
  });
}

/** Logging out is for those who are in, while somebody is there to be told. */
function serveLogout() {
  const show = () => {
    at("logout").hidden = feed.link === "locked" || (feed.status !== null && isOver(feed.status));
  };
  feed.addEventListener("link", show);
  feed.addEventListener("status", show);
}

async function main() {
  await serveNewerKeys(() => location.reload());
  const maybeOpen = autoOpen();
  serveStop();
  serveSuspend();
  serveLogout();
  showLink(feed);
  serveTitle(feed, () => {
    const phase = feed.status?.phase ?? "";
    return phase === "ready" ? "Ready" : (HEADLINES[phase] ?? "Session");
  });
  feed.addEventListener("status", () => {
    if (feed.status) show(feed.status);
    void showPicture();
    warmUp();
    maybeOpen();
  });
  document.addEventListener("visibilitychange", () => {
    void showPicture();
    maybeOpen();
  });
  setInterval(tick, 1000);
  if (location.search) history.replaceState(null, "", location.pathname);
  feed.rests = true;
  feed.start();
}

void main();
