// @ts-check
// The page for people with a remote desktop client of their own.

import { at, copies, post, Refused, tell } from "./lib/dom.js";
import { called, Feed, isOver, showLink } from "./lib/session.js";
import { serveTitle } from "./lib/time-left.js";
import { native } from "./lib/words.js";
import { serveNewerKeys } from "./login.js";

/** @typedef {import("./lib/session.js").Status} Status */
/** @typedef {{ account: string, password: string, destination: string }} Account */

const HIDDEN = "••••••••";

const feed = new Feed();

/** @type {Promise<Account> | undefined} */
let asked;

/** The account and its password, asked for once. */
function account() {
  asked ??= post("api/desktop").then((answer) => answer.json());
  asked.catch(() => {
    asked = undefined;
  });
  return asked;
}

/** @param {Status} status */
function show(status) {
  document.body.dataset["phase"] = status.phase;
  tell("where", `${called(status)} on ${status.host}`);
  tell("not-ready", native(status));
  at("not-ready").classList.toggle("bad", isOver(status));
  for (const id of ["to-status", "show", "copy-password", "rdp-file", "bundle"]) at(id).hidden = isOver(status);
  const ways = status.native;
  if (!ways) return;
  tell("ssh", ways.ssh);
  tell("fingerprint", status.certificate || "Not known yet: the guest shows it when it is ready.");
  showFreeRdp(status.certificate, ways.local_port);
  at("tls").hidden = !ways.tls;
  if (ways.tls) showTls(ways.tls, ways.local_port);
}

/**
 * @param {{ port: number, hosts: string[] }} tls
 * @param {number} port here
 */
function showTls(tls, port) {
  const ends = tls.hosts.map((host) => `${host.includes(":") ? `[${host}]` : host}:${tls.port}`);
  tell("tls-address", ends.join(" or "));
  const proof = "-quiet -verify_return_error -CAfile ca.pem -cert client.pem -key client.pem";
  tell("openssl", `mkfifo way; nc -l 127.0.0.1 ${port} <way | openssl s_client ${proof} -connect ${ends[0]} >way`);
}

/**
 * The certificate is pinned by its fingerprint, so nobody has to say "ignore".
 * @param {string} certificate
 * @param {number} port
 */
function showFreeRdp(certificate, port) {
  const user = at("account").textContent;
  const pin = `/cert:deny,fingerprint:sha256:${certificate.toLowerCase()}`;
  const waiting = "Shown as soon as the guest’s certificate is known.";
  tell("freerdp3", certificate ? `xfreerdp3 /v:127.0.0.1:${port} /u:${user} ${pin} /dynamic-resolution` : waiting);
  tell("freerdp2", certificate ? `xfreerdp /v:127.0.0.1:${port} /u:${user} ${pin} /dynamic-resolution` : waiting);
}

function servePassword() {
  const show = at("show");
  const output = at("password");
  show.addEventListener("click", async () => {
    const visible = show.getAttribute("aria-pressed") === "true";
    try {
      output.textContent = visible ? HIDDEN : (await account()).password;
      show.setAttribute("aria-pressed", String(!visible));
      show.textContent = visible ? "Show" : "Hide";
      at("password-note").textContent = "";
    } catch (error) {
      at("password-note").textContent = `The password cannot be had now: ${words(error)}.`;
    }
  });
  copies(/** @type {HTMLButtonElement} */ (at("copy-password")), async () => (await account()).password);
}

function serveBundle() {
  const button = /** @type {HTMLButtonElement} */ (at("bundle"));
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const answer = await post("api/client");
      save(await answer.blob(), `7lbd-${feed.status?.id ?? "client"}.zip`);
      tell("bundle-note", "Downloaded. It was handed out once and is not kept.");
    } catch (error) {
      const gone = error instanceof Refused && error.status === 410;
      tell("bundle-note", gone ? "It has been taken already. A new one: 7lbd connect --renew." : `${words(error)}.`);
      button.disabled = gone;
    }
  });
}

/** @param {unknown} error */
function words(error) {
  return error instanceof Refused ? error.message : "the session does not answer";
}

/**
 * @param {Blob} content
 * @param {string} name
 */
function save(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function main() {
  // Nothing more is heard of a session whose key is over: the new one's page is another.
  void serveNewerKeys(() => feed.link === "locked" && location.reload());
  showLink(feed);
  serveTitle(feed, () => "Native client");
  feed.addEventListener("status", () => feed.status && show(feed.status));
  servePassword();
  serveBundle();
  for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-copy]"))) {
    copies(button, () => at(button.dataset["copy"] ?? "").textContent ?? "");
  }
  if (location.search) history.replaceState(null, "", location.pathname);
  feed.rests = true;
  feed.start();
  try {
    at("account").textContent = (await account()).account;
    if (feed.status) show(feed.status);
  } catch (error) {
    at("password-note").textContent = `The account cannot be had now: ${words(error)}.`;
  }
}

void main();
