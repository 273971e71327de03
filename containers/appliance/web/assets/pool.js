// @ts-check
// The pool's overview. All that comes from machines is put into the page as text, and nothing of it is ever markup.

import { at, make, sentence, tell } from "./lib/dom.js";

/** @typedef {{ slot: number, image: string, version: string, phase: string, since: number }} Vm */
/**
 * @typedef {{
 *   name: string, address: string, revoked: string, seen: number, here: boolean, owner: string, lends: boolean,
 *   slots: number, reason: string, vms: Vm[], images: { name: string, version: string, whole: boolean }[],
 *   evictions: number, fetched: number, started: number, failures: number, appliance: string,
 * }} Machine
 */
/** @typedef {{ name: string, version: string, size: number, current: boolean, copies: number, refused?: string }} Image */
/**
 * @typedef {{
 *   pool: { collector: string, trust_domain: string, trouble: string, poll: number, codes: number },
 *   totals: {
 *     enrolled: number, here: number, lending: number, owners: Record<string, number>, slots: number,
 *     vms: Record<string, number>, revoked: number, evictions: number, fetched: number, sent: number, sending: number,
 *   },
 *   machines: Machine[], images: Image[], jobs: { name: string, idle: number, vms: number }[],
 * }} Overview
 */

const EVERY = 5000;
const UNITS = ["B", "KB", "MB", "GB", "TB", "PB"];

/** @param {number} bytes */
function size(bytes) {
  let unit = 0;
  while (bytes >= 1000 && unit < UNITS.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${bytes < 10 && unit ? bytes.toFixed(1) : Math.round(bytes)} ${UNITS[unit] ?? ""}`;
}

/** @param {number} seconds */
function ago(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

/**
 * @param {number} count
 * @param {string} what
 */
const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

/**
 * @param {string} id
 * @param {(Node | string)[][]} rows
 * @param {string} none
 * @param {number[]} numbers the columns of numbers
 */
function fill(id, rows, none, numbers) {
  const body = at(id).querySelector("tbody");
  if (!body) return;
  const width = at(id).querySelectorAll("th").length;
  const empty = make("tr", {}, make("td", { colspan: String(width), class: "none" }, none));
  const made = rows.map((cells) =>
    make("tr", {}, ...cells.map((cell, at) => make("td", numbers.includes(at) ? { class: "number" } : {}, cell))),
  );
  body.replaceChildren(...(made.length ? made : [empty]));
}

/** @param {Overview} told */
function show(told) {
  const { totals, pool } = told;
  tell("where", `${pool.collector}, ${pool.trust_domain}`);
  tell("headline", `${counted(totals.here, "machine")} here, ${totals.lending} lending`);
  tell("lede", lede(told));
  tell("trouble", pool.trouble ? sentence(`The queue does not answer: ${pool.trouble}`) : "");
  at("tiles").replaceChildren(
    ...tiles(told).flatMap(([name, value]) => [make("div", {}, make("dt", {}, name), make("dd", {}, value))]),
  );
  const jobs = told.jobs.map((job) => [job.name, String(job.idle), String(job.vms)]);
  fill("jobs", jobs, "No job that names an image waits.", [1, 2]);
  showImages(told);
  fill("machines", told.machines.map(machine), "No machine is enrolled yet: 7lbd grid pool code", [5, 6, 7, 8]);
}

/** @param {Overview} told */
function lede({ totals, pool }) {
  const away = totals.enrolled - totals.here - totals.revoked;
  const more = [
    away > 0 ? `${away} away` : "",
    totals.revoked ? `${totals.revoked} revoked` : "",
    pool.codes ? `${counted(pool.codes, "enrolment code")} not yet used` : "",
  ];
  return sentence(more.filter((text) => text).join(", "));
}

/**
 * @param {Overview} told
 * @returns {[string, string][]}
 */
function tiles({ totals, jobs }) {
  const vms = Object.values(totals.vms).reduce((sum, count) => sum + count, 0);
  return [
    ["Owners there", `${totals.owners["present"] ?? 0} of ${totals.here}`],
    ["VMs in slots", `${vms} of ${totals.slots}`],
    ["Working", String(totals.vms["busy"] ?? 0)],
    ["Jobs waiting", String(jobs.reduce((sum, job) => sum + job.idle, 0))],
    ["Images sent", size(totals.sent) + (totals.sending ? `, ${totals.sending} on their way` : "")],
    ["Evictions", String(totals.evictions)],
  ];
}

/** @param {Overview} told */
function showImages({ images, totals }) {
  const rows = images
    .filter((image) => image.refused === undefined)
    .map((image) => [
      `${image.name}@${image.version}${image.current ? "" : " (not offered)"}`,
      image.current ? size(image.size) : "",
      `${image.copies} of ${totals.here}`,
    ]);
  fill("images", rows, "No signed image is published.", [1, 2]);
  const refused = images.flatMap((image) => (image.refused === undefined ? [] : [image.refused]));
  at("refused").hidden = refused.length === 0;
  at("refused").replaceChildren(...refused.map((why) => make("li", {}, sentence(`Not offered: ${why}`))));
}

/**
 * @param {Machine} one
 * @returns {(Node | string)[]}
 */
function machine(one) {
  const name = make("span", { title: `${one.address} ${one.appliance}` }, one.name);
  if (one.revoked) {
    return [name, make("span", { class: "bad" }, `revoked: ${one.revoked}`), "", "", "", "", "", "", ago(one.seen)];
  }
  const vms = one.vms.map((vm) => make("div", {}, `${vm.slot}: ${vm.image} `, make("small", {}, vm.phase)));
  const cell = make("div", {}, ...vms);
  if (!vms.length && one.here) cell.append(`none of ${one.slots}`);
  return [
    name,
    one.here ? one.owner : "",
    make("span", { title: one.reason }, one.here ? (one.lends ? "yes" : `no: ${one.reason}`) : "away"),
    cell,
    one.images.map((held) => `${held.name}${held.whole ? "" : " …"}`).join(", "),
    size(one.fetched),
    String(one.evictions),
    String(one.failures),
    ago(one.seen),
  ];
}

/** @param {string} state */
function become(state) {
  document.body.dataset["state"] = state;
  at("door").hidden = state !== "asking";
  at("bar").hidden = at("sheet").hidden = state !== "open";
  if (state === "asking") at("token").focus();
}

async function look() {
  try {
    const answer = await fetch("overview.json");
    if (answer.status === 401) return become("asking");
    if (!answer.ok) throw new Error(String(answer.status));
    show(/** @type {Overview} */ (await answer.json()));
    tell("lost", "");
    become("open");
  } catch {
    tell("lost", "The service does not answer. What the machines run goes on without it.");
    if (document.body.dataset["state"] === "loading") become("open");
  }
  setTimeout(() => void look(), EVERY);
}

if (location.hash === "#wrong") {
  history.replaceState(null, "", location.pathname);
  tell("message", "That is not the token. Copy it again, whole.");
}
void look();
