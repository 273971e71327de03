// @ts-check
// Where the guest's picture stands in the window, and how large the guest should make it.

/** @typedef {{ width: number, height: number }} Size */

// Windows is no fun below this; a phone gets a larger desktop, scaled down.
const LEAST = { width: 800, height: 600 };
/** MS-RDPEDISP 2.2.2.2.1: the widest and highest monitor, in pixels. */
const MOST = 8192;
/** A guess: a word of the guest's is as wide as a phone. */
const MAX_ZOOM = 6;
/** Sizes closer than this are the same: servers round. */
const SLACK = 8;

/** Screen pixels to one of the guest's, a whole number so that text stays sharp: 1 on most screens, 2 on dense ones. */
export function pixelRatio() {
  return Math.max(1, Math.floor(devicePixelRatio));
}

/**
 * The desktop that suits a place of that size in CSS pixels.
 * @param {Size} place
 * @returns {Size}
 */
export function wantedSize(place) {
  const sharp = devicePixelRatio / pixelRatio();
  const [width, height] = [Math.max(1, place.width * sharp), Math.max(1, place.height * sharp)];
  const grow = Math.max(1, LEAST.width / width, LEAST.height / height);
  // RDP wants an even width (MS-RDPBCGR 2.2.1.3.2 and MS-RDPEDISP 2.2.2.2.1); servers like multiples of 4.
  return { width: Math.min(MOST, (width * grow) & ~3), height: Math.min(MOST, (height * grow) & ~1) };
}

/**
 * @param {Size} one
 * @param {Size} other
 */
export function alike(one, other) {
  return Math.abs(one.width - other.width) <= SLACK && Math.abs(one.height - other.height) <= SLACK;
}

/** Lays a canvas out in its place: as large as fits, or pixel by pixel; and magnified by two fingers. */
export class View {
  /** @type {HTMLCanvasElement | null} */
  canvas = null;
  zoom = 1;

  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
    new ResizeObserver(() => this.lay()).observe(place);
  }

  get real() {
    return document.body.dataset["scale"] === "real";
  }

  /** @param {boolean} real */
  setReal(real) {
    document.body.dataset["scale"] = real ? "real" : "fit";
    this.zoom = 1;
    this.lay();
  }

  /** @param {HTMLCanvasElement} canvas takes the place of the one before */
  show(canvas) {
    this.canvas = canvas;
    this.place.replaceChildren(canvas);
    this.lay();
  }

  /** What the place measures, in CSS pixels. */
  get room() {
    return { width: this.place.clientWidth, height: this.place.clientHeight };
  }

  lay() {
    const canvas = this.canvas;
    if (!canvas) return;
    const room = { width: this.place.offsetWidth, height: this.place.offsetHeight };
    const scale = this.#scale(canvas, room) * this.zoom;
    const [width, height] = [canvas.width * scale, canvas.height * scale];
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    canvas.style.left = `${Math.max(0, (room.width - width) / 2)}px`;
    canvas.style.top = `${Math.max(0, (room.height - height) / 2)}px`;
    // Whole multiples are shown as they are, others are smoothed.
    canvas.style.imageRendering = Number.isInteger(scale * devicePixelRatio) ? "pixelated" : "auto";
  }

  /**
   * CSS pixels to one of the guest's.
   * @param {Size} canvas
   * @param {Size} room
   */
  #scale(canvas, room) {
    const exact = pixelRatio() / devicePixelRatio;
    if (this.real) return exact;
    const fit = Math.min(room.width / canvas.width, room.height / canvas.height);
    // What was made for this window is not stretched over the last few pixels.
    const close = Math.abs(canvas.width * (fit - exact)) <= SLACK && Math.abs(canvas.height * (fit - exact)) <= SLACK;
    return close && fit >= exact ? exact : fit;
  }

  /**
   * Magnifies, and keeps the point under the fingers where it is.
   * @param {number} zoom
   * @param {number} x
   * @param {number} y
   */
  zoomTo(zoom, x, y) {
    if (!this.canvas) return;
    const before = this.#inside(x, y);
    this.zoom = Math.min(MAX_ZOOM, Math.max(1, zoom));
    this.lay();
    const box = this.canvas.getBoundingClientRect();
    this.pan(before.x * box.width + box.left - x, before.y * box.height + box.top - y);
  }

  /**
   * @param {number} dx
   * @param {number} dy
   */
  pan(dx, dy) {
    this.place.scrollLeft += dx;
    this.place.scrollTop += dy;
  }

  /** Whether there is more than the place shows. */
  get overflows() {
    return this.place.scrollWidth > this.place.clientWidth || this.place.scrollHeight > this.place.clientHeight;
  }

  /**
   * A point of the window in the guest's pixels.
   * @param {number} x
   * @param {number} y
   */
  guestPoint(x, y) {
    if (!this.canvas) return { x: 0, y: 0 };
    const { width, height } = this.canvas;
    const point = this.#inside(x, y);
    return {
      x: Math.min(width - 1, Math.max(0, Math.floor(point.x * width))),
      y: Math.min(height - 1, Math.max(0, Math.floor(point.y * height))),
    };
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  #inside(x, y) {
    const box = this.canvas?.getBoundingClientRect() ?? new DOMRect();
    return { x: (x - box.left) / (box.width || 1), y: (y - box.top) / (box.height || 1) };
  }
}
