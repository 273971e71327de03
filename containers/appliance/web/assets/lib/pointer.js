// @ts-check
// Mouse, pen and fingers on the guest's picture. Gestures are told apart by noVNC.

import GestureHandler from "../vendor/novnc/core/input/gesturehandler.js";

/** @typedef {import("./rdp.js").Connection} Connection */
/** @typedef {import("./view.js").View} View */
/** @typedef {{ type: string, clientX: number, clientY: number, magnitudeX: number, magnitudeY: number }} Gesture */

const [LEFT, MIDDLE, RIGHT] = [0, 1, 2]; // as in MouseEvent.button
const BITS = [1, 4, 2, 8, 16]; // of MouseEvent.buttons, by button
const TAPS = /** @type {Record<string, number>} */ ({ onetap: LEFT, twotap: RIGHT, threetap: MIDDLE });
const HOLDS = /** @type {Record<string, number>} */ ({ drag: LEFT, longpress: RIGHT });
/** A second tap this soon and this close is meant for the same point: fingers are not that exact. */
const DOUBLE = { milliseconds: 800, pixels: 40 };

/**
 * @param {HTMLElement} place
 * @param {View} view
 * @param {() => Connection | null} connection
 */
export function servePointer(place, view, connection) {
  serveMouse(place, view, connection);
  serveTouch(place, view, connection);
}

/**
 * @param {View} view
 * @param {Connection} to
 * @param {number} x
 * @param {number} y
 */
function move(view, to, x, y) {
  const point = view.guestPoint(x, y);
  return to.events.mouseMove(point.x, point.y);
}

/**
 * @param {HTMLElement} place
 * @param {View} view
 * @param {() => Connection | null} connection
 */
function serveMouse(place, view, connection) {
  // Browsers that know touch events send them for pens, too.
  const isOurs = (/** @type {PointerEvent} */ event) =>
    event.pointerType === "mouse" || (event.pointerType === "pen" && !("ontouchstart" in window));

  place.addEventListener("pointermove", (event) => {
    const to = connection();
    if (!to || !isOurs(event)) return;
    to.send(move(view, to, event.clientX, event.clientY));
    // A second button while the first is held comes as a move (Pointer Events, chorded buttons).
    if (event.button >= 0) to.send(button(to, event));
  });
  place.addEventListener("pointerdown", (event) => {
    const to = connection();
    if (!to || !isOurs(event) || onScrollbar(event)) return;
    if (!place.contains(document.activeElement)) place.focus({ preventScroll: true });
    place.setPointerCapture(event.pointerId);
    to.send(move(view, to, event.clientX, event.clientY), button(to, event));
  });
  place.addEventListener("pointerup", (event) => {
    const to = connection();
    if (to && isOurs(event)) to.send(button(to, event));
  });
  place.addEventListener("wheel", (event) => turn(connection(), event), { passive: false });
  // Not the pointer's event: then no mouse's would come, and "back" and "forward" could not be kept from the browser.
  place.addEventListener("mousedown", (event) => connection() && !onScrollbar(event) && event.preventDefault());
  place.addEventListener("contextmenu", (event) => event.preventDefault());
  place.addEventListener("dragstart", (event) => event.preventDefault());
}

/** @param {MouseEvent} event */
function onScrollbar(event) {
  const place = /** @type {HTMLElement} */ (event.currentTarget);
  const box = place.getBoundingClientRect();
  const view = place.querySelector("#view") ?? place;
  return event.clientX - box.left >= view.clientWidth || event.clientY - box.top >= view.clientHeight;
}

/**
 * @param {Connection} to
 * @param {PointerEvent} event
 */
function button(to, event) {
  const held = (event.buttons & (BITS[event.button] ?? 0)) !== 0;
  return held ? to.events.mouseButtonPressed(event.button) : to.events.mouseButtonReleased(event.button);
}

/**
 * @param {Connection | null} to
 * @param {WheelEvent} event
 */
function turn(to, event) {
  event.preventDefault();
  if (!to) return;
  if (event.deltaY !== 0) to.send(to.events.wheelRotations(true, steps(-event.deltaY), event.deltaMode));
  if (event.deltaX !== 0) to.send(to.events.wheelRotations(false, steps(event.deltaX), event.deltaMode));
}

/** @param {number} delta a whole number, and never nothing at all */
function steps(delta) {
  return delta > 0 ? Math.ceil(delta) : Math.floor(delta);
}

/**
 * @param {HTMLElement} place
 * @param {View} view
 * @param {() => Connection | null} connection
 */
function serveTouch(place, view, connection) {
  new GestureHandler().attach(place);
  let [lastX, lastY, zoom, span] = [0, 0, 1, 1];
  let tap = { x: 0, y: 0, when: 0 };

  /** @type {(name: "gesturestart" | "gesturemove" | "gestureend", act: (to: Connection, gesture: Gesture) => void) => void} */
  const on = (name, act) =>
    place.addEventListener(name, (event) => {
      const to = connection();
      if (to) act(to, /** @type {CustomEvent<Gesture>} */ (/** @type {unknown} */ (event)).detail);
    });

  on("gesturestart", (to, gesture) => {
    const { type, clientX: x, clientY: y } = gesture;
    const click = TAPS[type];
    if (click !== undefined) {
      const near = Math.hypot(x - tap.x, y - tap.y) < DOUBLE.pixels && Date.now() - tap.when < DOUBLE.milliseconds;
      if (!near) tap = { x, y, when: Date.now() };
      to.send(move(view, to, tap.x, tap.y), to.events.mouseButtonPressed(click));
      to.send(to.events.mouseButtonReleased(click));
    }
    const hold = HOLDS[type];
    if (hold !== undefined) to.send(move(view, to, x, y), to.events.mouseButtonPressed(hold));
    [lastX, lastY, zoom, span] = [gesture.magnitudeX, gesture.magnitudeY, view.zoom, length(gesture)];
  });
  on("gesturemove", (to, gesture) => {
    const { type, clientX: x, clientY: y } = gesture;
    if (type in HOLDS) to.send(move(view, to, x, y));
    if (type === "pinch") view.zoomTo((zoom * length(gesture)) / span, x, y);
    if (type === "twodrag") {
      const [dx, dy] = [gesture.magnitudeX - lastX, gesture.magnitudeY - lastY];
      [lastX, lastY] = [gesture.magnitudeX, gesture.magnitudeY];
      if (view.overflows) return view.pan(-dx, -dy);
      to.send(move(view, to, x, y));
      if (dy !== 0) to.send(to.events.wheelRotations(true, steps(dy), 0));
      if (dx !== 0) to.send(to.events.wheelRotations(false, steps(-dx), 0));
    }
  });
  on("gestureend", (to, gesture) => {
    const hold = HOLDS[gesture.type];
    if (hold === undefined) return;
    to.send(move(view, to, gesture.clientX, gesture.clientY), to.events.mouseButtonReleased(hold));
  });
}

/** @param {Gesture} gesture */
function length(gesture) {
  return Math.hypot(gesture.magnitudeX, gesture.magnitudeY) || 1;
}
