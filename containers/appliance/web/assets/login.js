// @ts-check
// The key to the session: from the address's fragment, or typed by hand. Imports nothing, because nothing else is
// served to those who are not in yet.

const PAGES = ["desktop", "console", "native"];

/** @type {Record<number, string>} */
const SENTENCES = {
  403: "That key does not open this session. Copy it again, whole, from where the desktop was started.",
  410: "This key was replaced by a newer one, and opens nothing any more. The new one is shown by: 7lbd connect --url",
  429: "Too many attempts. Wait a minute, then try again.",
  0: "The session does not answer. It may have ended, or the network may be down.",
};

const SILENT = 4000; // milliseconds, as on the other pages (lib/session.js)
const UNHEARD =
  "The session has not answered yet. It may have ended, or the network may be down. This page goes on waiting.";

/**
 * Takes `token` and `to` out of the address, and the address out of the history.
 * @returns {{ token: string, to: string }}
 */
function takeKey() {
  const words = new URLSearchParams(location.hash.slice(1));
  if (words.has("token")) history.replaceState(null, "", location.pathname + location.search);
  return { token: words.get("token") ?? "", to: words.get("to") ?? location.pathname.split("/").pop() ?? "" };
}

/**
 * Gives up the token for a cookie.
 * @param {string} token
 * @returns {Promise<string>} what went wrong, in words; nothing when all is well
 */
async function enter(token) {
  try {
    // The answer to the right token is a redirection, which is not for us to follow.
    const answer = await fetch("login", { method: "POST", body: new URLSearchParams({ token }), redirect: "manual" });
    if (answer.ok || answer.type === "opaqueredirect") return "";
    return SENTENCES[answer.status] ?? `The session answered with error ${answer.status}.`;
  } catch {
    return SENTENCES[0] ?? "";
  }
}

/**
 * For somebody who is in already, and may come with a newer key, for instance one that may do more: the key leaves the
 * address, and the page opens that its link meant.
 * @returns {Promise<boolean>} whether a key was taken, and this is that page
 */
async function takeNewer() {
  const { token, to } = takeKey();
  if (!token || (await enter(token))) return false;
  const isHere = !PAGES.includes(to) || to === document.body.dataset["page"];
  if (!isHere) location.replace(to);
  return isHere;
}

/**
 * Does so now and whenever a link is pasted over the page, which changes the fragment only.
 * @param {() => void} [onNewer] called then
 */
export async function serveNewerKeys(onNewer = () => {}) {
  addEventListener("hashchange", async () => {
    if (await takeNewer()) onNewer();
  });
  await takeNewer();
}

const ASKED_AGAIN = "?asked-again";

/**
 * Asks for the page once more: with a link on another site's page, or in a mail, the cookie does not come along
 * (SameSite=Strict); with one of our own it does, where there is one.
 * @returns {boolean} whether it is on its way
 */
function askAgain() {
  if (location.search === ASKED_AGAIN) history.replaceState(null, "", location.pathname);
  else if (!location.search && !isOurOwn() && !document.querySelector("#message")?.textContent) {
    document.body.dataset["state"] = "asking";
    location.replace(location.pathname + ASKED_AGAIN);
    return true;
  }
  return false;
}

/** Whether it was a page of ours that led here; or an address that slash.js is about to mend. */
function isOurOwn() {
  const mended = !location.pathname.endsWith("/") && document.querySelector("script[src$='slash.js']") !== null;
  return mended || location.pathname.endsWith("/login") || document.referrer.startsWith(`${location.origin}/`);
}

/** @param {string} to */
function go(to) {
  // The gateway takes the query off again; if the cookie did not come back with it, the page says so.
  location.replace(`${PAGES.includes(to) ? to : "./"}?entered`);
}

/** @param {HTMLFormElement} form */
function serve(form) {
  const field = /** @type {HTMLInputElement} */ (form.elements.namedItem("token"));
  const message = /** @type {HTMLElement} */ (document.querySelector("#message"));
  let key = takeKey();

  /** @param {string} token */
  const attempt = async (token) => {
    document.body.dataset["state"] = "trying";
    const waiting = setTimeout(() => {
      message.textContent = UNHEARD;
    }, SILENT);
    const trouble = await enter(token);
    clearTimeout(waiting);
    document.body.dataset["state"] = trouble ? "refused" : "in";
    message.textContent = trouble;
    if (!trouble) return go(key.to);
    field.value = "";
    field.focus();
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void attempt(field.value.trim());
  });
  if (key.token) void attempt(key.token);
  else if (!askAgain()) {
    document.body.dataset["state"] = "idle";
    field.focus();
  }
  // A link that is pasted into the address bar of this very page changes the fragment only.
  addEventListener("hashchange", () => {
    key = takeKey();
    if (key.token) void attempt(key.token);
  });
}

if (document.body.dataset["page"] === "login") {
  const form = document.querySelector("form");
  if (form) serve(form);
}
