// @ts-check
// What the desktop's page begins with, before the rest of its scripts is there: the question for the log-in's secret, and
// the line of somebody who has been here. On a slow line, what is begun a quarter of a second earlier is there earlier.

import { post } from "./lib/dom.js";
import { kept, packed } from "./lib/first-words.js";
import { openAhead } from "./lib/true-colour.js";

/** @typedef {import("./lib/rdp.js").Wishes["login"]} Login */

export const tab = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) =>
  byte.toString(16).padStart(2, "0"),
).join("");

/** Where the gateway's line is. */
export function proxy() {
  const address = new URL("ws/rdp", location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  address.hash = "";
  address.search = `?tab=${tab}`;
  return address.href;
}

/**
 * @param {{ ask?: string }} [order] what the client will ask for, with which the gateway begins
 * @returns {Promise<Login>}
 */
async function askForLogin(order) {
  return (await post("api/desktop", order)).json();
}

/** @type {Promise<Login> | null} What the first attempt will want, on its way before that. */
let login = null;

/** The first attempt's answer, if it is one; each further attempt asks anew. */
export async function askedAhead() {
  const asked = login;
  login = null;
  return (await asked?.catch(() => null)) ?? askForLogin();
}

function begin() {
  if (typeof WebAssembly === "undefined") return; // the page says so
  // First what the gateway begins with: a browser may have but one line to it that is open.
  const words = kept();
  login = askForLogin(words ? { ask: packed(words[0]) } : {});
  login.catch(() => {});
  // Who has been here has the client, too.
  if (words) openAhead(proxy());
}

begin();
