// @ts-check
// The RDP client's WebAssembly in two parts (scripts/sifbuild/wasm.py): what every visit runs, and behind it the rest.
//
// The first part calls the rest through a table that they share. WebAssembly cannot wait for what is not there, but by
// holding the whole page, which on a silent line would last for minutes. So a call that comes too early ends this client:
// the page begins anew, and then waits for both parts, alive. Who has the rest already does not get into that.

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

/** What the browser keeps the name of, once it has fetched it. */
const KEPT_AS = "7lbd-client-rest";

/** The rest was wanted before it was there: this client can go on no more, and another has to be begun. */
export class CutOff extends Error {}

/** Fetches the rest, so that it is there when something calls it. */
export function fetchRest() {
  join?.().catch(() => {});
}

/** Whether the page was begun anew for the rest. It lasts for the tab's visit, and needs no leave to store things. */
const isWanted = () => history.state?.["whole"] === true;

/** Whether the browser has the rest from an earlier visit: then it takes nothing of the line. */
function isKept() {
  try {
    return localStorage.getItem(KEPT_AS) === file.pathname;
  } catch {
    return false; // the browser keeps nothing
  }
}

function noteKept() {
  try {
    localStorage.setItem(KEPT_AS, file.pathname);
  } catch {
    // As above.
  }
}

/**
 * Makes one client of its parts: the rest comes now where it is wanted or kept, else when it is asked for.
 * @template {WebAssembly.WebAssemblyInstantiatedSource} T
 * @param {T} made of the first part
 * @param {WebAssembly.Imports} imports
 * @returns {Promise<T>}
 */
async function joined(made, imports) {
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
    noteKept();
  };
  const now = () => {
    history.replaceState({ ...history.state, whole: true }, "");
    throw new CutOff("the rest of the client is not there yet");
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
  if (isWanted()) await join();
  else if (isKept()) fetchRest();
  return made;
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
