// @ts-check
// A toolbar as WAI-ARIA has it: one stop for the Tab key, and the arrows go from button to button.

/** @param {HTMLElement} bar with role="toolbar" */
export function serveToolbar(bar) {
  const all = () =>
    /** @type {HTMLElement[]} */ ([...bar.querySelectorAll("button, a[href]")]).filter(
      (each) => each.checkVisibility() && !(/** @type {HTMLButtonElement} */ (each).disabled),
    );
  bar.addEventListener("keydown", (event) => {
    const items = all();
    const here = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const next = target(event.key, here, items.length);
    if (here < 0 || next < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    items[next]?.focus();
  });
  bar.addEventListener("focusin", (event) => {
    for (const each of bar.querySelectorAll("button, a"))
      each.setAttribute("tabindex", each === event.target ? "0" : "-1");
  });
  for (const [place, each] of [...bar.querySelectorAll("button, a")].entries()) {
    each.setAttribute("tabindex", place ? "-1" : "0");
  }
}

/**
 * @param {string} key
 * @param {number} here
 * @param {number} count
 * @returns {number} the place that the key leads to, or -1
 */
function target(key, here, count) {
  if (key === "ArrowRight" || key === "ArrowDown") return (here + 1) % count;
  if (key === "ArrowLeft" || key === "ArrowUp") return (here + count - 1) % count;
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  return -1;
}
