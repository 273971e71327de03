// @ts-check
// How far the desktop's client has come: on a slow line it is most of the wait.

import { download } from "./client-file.js";
import { at } from "./dom.js";

/** @param {number} bytes */
function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

/** Shows a bar while the client comes, and none when it came at once. */
export function serveDownloadBar() {
  const bar = /** @type {HTMLProgressElement} */ (at("download-bar"));
  download.addEventListener("progress", (event) => {
    const { done, total } = /** @type {CustomEvent<import("./client-file.js").Progress>} */ (event).detail;
    at("download").hidden = done >= total;
    bar.max = total;
    bar.value = done;
    at("download-text").textContent = `${megabytes(done)} of ${megabytes(total)} MB`;
  });
}
