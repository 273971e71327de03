// @ts-check
// The RDP client's WebAssembly in two parts (scripts/sifbuild/wasm.py): what every visit runs, and behind it the rest.
//
// The first part calls the rest through a table that they share. Until the rest is there, its first call asks for it, and
// has to have it before it goes on: WebAssembly cannot wait.

import { rest as file } from "./client-file.js";

const SHARED = "7lbd"; // the names here are wasm.py's
const APART = `${SHARED}-apart`;
const SLOTS = `${SHARED}-slots`;

/** (module (import "a" "b" (func)) (export "c" (func 0))): a table takes functions of modules only. */
const LINK = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 2, 7, 1, 1, 97, 1, 98, 0, 0, 7, 5, 1, 1, 99, 0, 0],
);

/** @type {(() => Promise<void>) | undefined} */
let join;

/** The rest was wanted at once, and did not come: this client can go on no more, and another has to be begun. */
export class CutOff extends Error {}

/** Fetches the rest, so that it is there when something calls it. What does not come now is asked for by its first call. */
export function fetchRest() {
  join?.().catch(() => {});
}

/**
 * Makes one client of its parts: the rest can come now, and comes at the latest when it is called.
 * @template {WebAssembly.WebAssemblyInstantiatedSource} T
 * @param {T} made of the first part
 * @param {WebAssembly.Imports} imports
 * @returns {T}
 */
function joined(made, imports) {
  const { exports } = made.instance;
  const apart = /** @type {WebAssembly.Global | undefined} */ (exports[APART]);
  if (!apart) return made; // a client that is whole: it is profiled so
  const all = { ...imports, [SHARED]: exports };
  /** @type {Promise<void> | undefined} */
  let coming;
  const later = async () => {
    if (!apart.value) return;
    const rest = await WebAssembly.compileStreaming(fetch(file, { priority: "low" }));
    if (!apart.value) return;
    await WebAssembly.instantiate(rest, all);
    apart.value = 0;
  };
  const now = () => {
    new WebAssembly.Instance(compiled(fetchedAtOnce()), all);
    apart.value = 0;
  };
  const link = new WebAssembly.Instance(new WebAssembly.Module(LINK), { a: { b: now } });
  const slots = /** @type {WebAssembly.Table} */ (exports[SLOTS]);
  slots.set(0, link.exports["c"]);
  join = () => {
    coming ??= later();
    coming.catch(() => {
      coming = undefined;
    });
    return coming;
  };
  return made;
}

/** The file of the rest, for which the whole page waits. */
function fetchedAtOnce() {
  const request = new XMLHttpRequest();
  request.open("GET", file, false);
  // Whoever waits like this cannot have bytes: this coding has each of them as a letter, high ones from U+F700 on.
  request.overrideMimeType("text/plain; charset=x-user-defined");
  try {
    request.send();
  } catch (error) {
    throw new CutOff("the line broke before the client was whole", { cause: error });
  }
  if (request.status !== 200) throw new CutOff(`the gateway answers ${request.status}`);
  return Uint8Array.from(request.responseText, (letter) => letter.charCodeAt(0) & 0xff);
}

/**
 * @param {BufferSource} bytes what came, which a portal on the way may have answered with a page of its own
 */
function compiled(bytes) {
  try {
    return new WebAssembly.Module(bytes);
  } catch (error) {
    throw new CutOff("what came is not the client", { cause: error });
  }
}

/** What the client's own script takes for the browser's WebAssembly, to make its instance. */
export const clientParts = {
  /**
   * @param {Response | PromiseLike<Response>} source
   * @param {WebAssembly.Imports} imports
   */
  async instantiateStreaming(source, imports) {
    return joined(await WebAssembly.instantiateStreaming(source, imports), imports);
  },
  /**
   * @param {BufferSource} source
   * @param {WebAssembly.Imports} imports
   */
  async instantiate(source, imports) {
    return joined(await WebAssembly.instantiate(source, imports), imports);
  },
};
