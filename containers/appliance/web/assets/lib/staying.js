// @ts-check
// What keeps a page with the guest's picture where it is: hands that are used to a browser, and mean the guest.

const BACK = 3; // MouseEvent.button; 4 is "forward"

/**
 * The mouse's buttons for "back" and "forward" are the guest's as long as its picture is there. The event that makes the
 * browser leave is mouseup, and one that was never sent cannot be kept from it: `pointer.js` lets it be sent.
 * @param {() => boolean} connected
 */
export function keepBackButtons(connected) {
  for (const kind of /** @type {const} */ (["mousedown", "mouseup", "auxclick"])) {
    addEventListener(kind, (event) => event.button >= BACK && connected() && event.preventDefault(), { capture: true });
  }
}

/**
 * Asks before a tab with a picture is closed: Control-W is the guest's "close" in many programs. Our own links are meant.
 * @param {() => boolean} connected
 */
export function askBeforeClosing(connected) {
  let meant = false;
  addEventListener("click", (event) => {
    meant = event.target instanceof Element && event.target.closest("a[href]") !== null;
  });
  addEventListener("beforeunload", (event) => {
    if (connected() && !meant) event.preventDefault();
  });
}
