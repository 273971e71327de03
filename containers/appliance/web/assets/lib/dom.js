// @ts-check
// Small helpers for the pages: finding elements, showing text, copying, asking the server.

import { isPortals, PORTALS, WANTS_LOGIN } from "./portal.js";

/**
 * The element of that id. It is in the page, or the page is broken.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function at(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`this page has no #${id}`);
  return /** @type {T} */ (found);
}

/**
 * Sets an element's text when it differs, so that screen readers hear of changes only; hides an element without text.
 * @param {string} id
 * @param {string} text
 */
export function tell(id, text) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
  element.hidden = text === "";
}

/**
 * The server's words as a sentence.
 * @param {string} text
 */
export function sentence(text) {
  return text && text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
}

/**
 * @param {string} name
 * @param {Record<string, string>} attributes
 * @param {(Node | string)[]} content
 */
export function make(name, attributes = {}, ...content) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...content);
  return element;
}

/** For one answer, in milliseconds: a browser may ask on a line that died unheard of, and would wait for minutes. */
const PATIENCE = 15_000;

/** An answer of the server that is not the one hoped for. */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {string} message
   * @param {string} hint
   */
  constructor(status, message, hint) {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}

/**
 * POSTs and returns the answer. Throws Refused with the server's own words, or TypeError or
 * TimeoutError when there is no server.
 * @param {string} path
 * @param {unknown} [body]
 */
export async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(path, {
    method: "POST",
    headers,
    body: JSON.stringify(body ?? {}),
    redirect: "manual",
    signal: AbortSignal.timeout(PATIENCE),
  });
  const words = answer.ok ? null : await answer.json().catch(() => null);
  if (isPortals(answer, words)) throw new Refused(PORTALS, WANTS_LOGIN.part, WANTS_LOGIN.text);
  if (answer.ok) return answer;
  throw new Refused(answer.status, words?.error ?? `error ${answer.status}`, words?.hint ?? "");
}

/**
 * Copies text. Where the page is not served by HTTPS or from this computer, browsers have only the old way.
 * @param {string} text
 */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "secret";
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (!done) throw new Error("the browser did not let us copy");
}

/**
 * Makes a button copy what `text` gives, and say so.
 * @param {HTMLButtonElement} button
 * @param {() => string | Promise<string>} text
 */
export function copies(button, text) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await copy(await text());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied";
    }
    setTimeout(() => {
      button.textContent = label;
    }, 2000);
  });
}
