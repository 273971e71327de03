// @ts-check
// The WebAssembly of the RDP client: by far the largest thing that a page wants, so how far it has come is told.

// Of the build (scripts/sifbuild/bundle.py): the names of its two parts, and the first one's bytes when nothing
// compresses it. Without the first there is no desktop.
const file = new URL(CLIENT_FILE, import.meta.url);
const bytes = CLIENT_BYTES;
/** Which client this is: its name has its hash. */
export const clientName = CLIENT_FILE;
/** The second part's place, for client-parts.js. */
export const rest = new URL(CLIENT_REST, import.meta.url);

/** Emits "progress" while the client comes, with how much of it is there. */
export const download = new EventTarget();

/** @typedef {{ done: number, total: number }} Progress in bytes on the line */

/**
 * What is on the line is compressed, and only its length is told; what comes out of it is counted. The part of one is
 * the part of the other, near enough.
 * @param {Response} answer
 */
async function count(answer) {
  const length = Number(answer.headers.get("Content-Length"));
  const total = answer.headers.has("Content-Encoding") && length > 0 ? length : bytes;
  const reader = answer.body?.getReader();
  let there = 0;
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    there += part.value.length;
    tell({ done: Math.min(total, Math.round((there / bytes) * total)), total });
  }
  tell({ done: total, total });
}

/** @param {Progress} detail */
function tell(detail) {
  download.dispatchEvent(new CustomEvent("progress", { detail }));
}

async function fetched() {
  const answer = await fetch(file);
  if (!answer.ok) throw new Error(`the gateway answers ${answer.status}`);
  // The browser compiles its own answer while it arrives, and keeps what it compiled: the copy is only counted.
  count(answer.clone()).catch(() => {});
  return answer;
}

/** For the client's own script, which awaits it: each time anew, so that a download that broke can be tried again. */
export const clientFile = {
  /** @type {(done: (answer: Response) => void, failed: (reason: unknown) => void) => void} */
  then(done, failed) {
    fetched().then(done, failed);
  },
};

/** Brings the client into the browser's cache, behind whatever else is wanted. */
export async function fetchAhead() {
  try {
    for (const part of [file, rest]) await (await fetch(part, { priority: "low" })).arrayBuffer();
  } catch {
    // The page that wants it fetches what is missing.
  }
}
