// @ts-check
// Keys and letters for the machine's own keyboard, which is QEMU's and has the layout of the United States.

/** @typedef {import("../vendor/novnc/core/rfb.js").default} RFB */

// X11's keysyms, which RFB sends (RFC 6143, 7.5.4): of X11/keysymdef.h.
const KEYSYMS = /** @type {Record<string, number>} */ ({
  Backspace: 0xff08,
  Tab: 0xff09,
  Enter: 0xff0d,
  Escape: 0xff1b,
  Delete: 0xffff,
  ShiftLeft: 0xffe1,
  ControlLeft: 0xffe3,
  AltLeft: 0xffe9,
  ArrowLeft: 0xff51,
  ArrowUp: 0xff52,
  ArrowRight: 0xff53,
  ArrowDown: 0xff54,
});
const UNICODE = 0x01000000; // the same: a keysym for each sign that has none of its own

// What stands on each key, without Shift and with it.
const PLAIN = "1234567890-=[]\\;'`,./ ";
const SHIFTED = '!@#$%^&*()_+{}|:"~<>?';
const SIGNS = [
  ...["Digit1", "Digit2", "Digit3", "Digit4", "Digit5", "Digit6", "Digit7", "Digit8", "Digit9", "Digit0"],
  ...["Minus", "Equal", "BracketLeft", "BracketRight", "Backslash", "Semicolon", "Quote", "Backquote"],
  ...["Comma", "Period", "Slash", "Space"],
];

/**
 * The keys for a letter, by their KeyboardEvent codes; none where that keyboard has none for it.
 * @param {string} letter
 * @returns {string[]}
 */
function keysOf(letter) {
  if (/^[a-z]$/.test(letter)) return [`Key${letter.toUpperCase()}`];
  if (/^[A-Z]$/.test(letter)) return ["ShiftLeft", `Key${letter}`];
  const [plain, shifted] = [SIGNS[PLAIN.indexOf(letter)], SIGNS[SHIFTED.indexOf(letter)]];
  if (plain) return [plain];
  return shifted ? ["ShiftLeft", shifted] : [];
}

/** @param {string} letter */
function keysymOf(letter) {
  const point = letter.codePointAt(0) ?? 0;
  return point < 0x100 ? point : UNICODE | point;
}

/**
 * @param {RFB | undefined} rfb
 * @param {string[]} codes pressed in this order, released in the other
 * @param {number} keysym the last one's, if it is a letter's
 */
export function chord(rfb, codes, keysym = 0) {
  for (const code of codes) rfb?.sendKey(KEYSYMS[code] ?? keysym, code, true);
  for (const code of codes.toReversed()) rfb?.sendKey(KEYSYMS[code] ?? keysym, code, false);
}

/**
 * @param {RFB | undefined} rfb
 * @param {string} letter
 * @param {string[]} held codes of what is held with it
 * @returns {boolean} whether it is written there now
 */
export function type(rfb, letter, held) {
  const [codes, keysym] = [keysOf(letter), keysymOf(letter)];
  if (codes.length) chord(rfb, [...held, ...codes], keysym);
  else rfb?.sendKey(keysym, "");
  return rfb !== undefined && !rfb.viewOnly && !held.length;
}
