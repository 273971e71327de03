// @ts-check
// The menu's handle lies over the guest's picture, so it can be put elsewhere along the upper edge: by pointer or arrows.

const KEPT_AS = "7lbd-menu-place";
const STEP = 0.05; // of the width, for an arrow key
const STILL = 6; // pixels that a finger moves when it only wants to press

/**
 * Its place is a part of the room there is, from 0 to 1 (style.css), so it is in sight in a window of any size.
 * @param {HTMLElement} handle
 */
export function serveHandle(handle) {
  let place = kept();
  /** @param {number} wanted */
  const put = (wanted) => {
    place = Math.min(1, Math.max(0, wanted));
    handle.style.setProperty("--place", String(place));
  };
  put(place);
  serveDragging(handle, put, () => keep(place));
  handle.addEventListener("keydown", (event) => {
    const wanted = { ArrowLeft: place - STEP, ArrowRight: place + STEP, Home: 0, End: 1 }[event.key];
    if (wanted === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    put(wanted);
    keep(place);
  });
}

/**
 * @param {HTMLElement} handle
 * @param {(place: number) => void} put
 * @param {() => void} done
 */
function serveDragging(handle, put, done) {
  /** @type {{ from: number, inside: number, moved: boolean } | null} */
  let drag = null;
  let moved = false;
  // The press that ends a move opens nothing.
  handle.addEventListener("click", (event) => moved && event.detail > 0 && event.stopImmediatePropagation());
  handle.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    drag = { from: event.clientX, inside: event.clientX - handle.getBoundingClientRect().left, moved: false };
    handle.setPointerCapture(event.pointerId);
  });
  handle.addEventListener("pointermove", (event) => {
    if (!drag || (!drag.moved && Math.abs(event.clientX - drag.from) < STILL)) return;
    drag.moved = true;
    const room = innerWidth - handle.offsetWidth;
    put(room > 0 ? (event.clientX - drag.inside) / room : 0);
  });
  const end = () => {
    if (drag?.moved) {
      done();
    }
    moved = drag?.moved === true;
    drag = null;
  };
  handle.addEventListener("pointerup", end);
  handle.addEventListener("pointercancel", end);
}

/** @returns {number} */
function kept() {
  try {
    const place = Number.parseFloat(localStorage.getItem(KEPT_AS) ?? "");
    return Number.isFinite(place) ? place : 0.5;
  } catch {
    return 0.5; // a browser that keeps nothing
  }
}

/** @param {number} place */
function keep(place) {
  try {
    localStorage.setItem(KEPT_AS, String(place));
  } catch {
    // It is where it is for as long as this page is there.
  }
}
