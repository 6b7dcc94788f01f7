/* The dashboard: asks the server once a second how things stand, draws the last minutes, and the KV cache block by block. */

import { $, element } from "/static/dom.js";

const EVERY_MS = 1000;
const KEPT = 180; // points of a line: three minutes
const HEIGHT_PX = 220; // of the picture of the blocks, unless its squares get too small for that
const LEAST_PX = 2; // a square's side, and the gap beside it
const MOST_PX = 24;
const STATES = ["free", "held", "cached", "shared"]; // as the server numbers them

/* title, unit, what the number is (from this state and the one before, seconds apart), what a second line is */
const CARDS = [
  { title: "Output", unit: "tokens/s", value: (now, before, s) => (now.generation_tokens - before.generation_tokens) / s },
  { title: "Prompts", unit: "tokens/s", value: (now, before, s) => (now.prompt_tokens - before.prompt_tokens) / s },
  { title: "Time to first token, p50 / p99", unit: "ms", value: now => now.ttft_ms?.p50, second: now => now.ttft_ms?.p99 },
  { title: "Between tokens, p50 / p99", unit: "ms", value: now => now.itl_ms?.p50, second: now => now.itl_ms?.p99 },
  { title: "Running", unit: "sequences", value: now => now.running },
  { title: "Waiting", unit: "sequences", value: now => now.waiting },
  { title: "Prefix cache hits", unit: "% of prompt tokens", value: now => (now.prompt_tokens ? (100 * now.cached_prompt_tokens) / now.prompt_tokens : undefined) },
  { title: "Preemptions", unit: "since the start", value: now => now.preemptions },
];

class Card {
  constructor(form) {
    this.form = form;
    this.points = [];
    this.number = element("div", "number", "–");
    this.line = path("");
    this.second = path("second");
    const chart = svg("svg");
    chart.setAttribute("viewBox", `0 0 ${KEPT} 40`);
    chart.setAttribute("preserveAspectRatio", "none");
    chart.setAttribute("aria-hidden", "true");
    chart.append(this.second, this.line);
    this.node = element("section", "card", element("h2", "", form.title), this.number, chart);
    this.node.setAttribute("aria-label", form.title);
  }

  take(now, before, seconds) {
    const value = this.form.value(now, before, seconds);
    const second = this.form.second?.(now, before, seconds);
    this.points.push([value, second]);
    if (this.points.length > KEPT) this.points.shift();
    this.number.replaceChildren(shown(value), second === undefined ? "" : ` / ${shown(second)}`, element("small", "", ` ${this.form.unit}`));
    const most = Math.max(1e-9, ...this.points.flat().filter(Number.isFinite));
    this.line.setAttribute("d", drawn(this.points.map(point => point[0]), most));
    this.second.setAttribute("d", drawn(this.points.map(point => point[1]), most));
  }
}

function shown(value) {
  if (!Number.isFinite(value)) return "–";
  return value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
}

function drawn(values, most) {
  let pen = "M";
  return values.map((value, index) => {
    if (!Number.isFinite(value)) { pen = "M"; return ""; }
    const step = `${pen}${KEPT - values.length + index},${(38 - (36 * value) / most).toFixed(1)}`;
    pen = "L";
    return step;
  }).join("");
}

function svg(tag) {
  return document.createElementNS("http://www.w3.org/2000/svg", tag);
}

function path(className) {
  const made = svg("path");
  if (className) made.setAttribute("class", className);
  return made;
}

/* One square for each block, rows as wide as the page allows; a group of caches has a picture of its own. */
function drawBlocks(groups) {
  const sum = key => groups.reduce((total, group) => total + group[key], 0);
  $("blocks").replaceChildren(...groups.map(group => figure(group, groups.length > 1)));
  const total = sum("num_blocks");
  const used = sum("num_held") + sum("num_shared");
  $("kv-number").replaceChildren(`${shown((100 * used) / Math.max(1, total))} %`, element("small", "", ` of ${shown(total)} blocks in use, ${shown(sum("num_cached"))} cached, ${shown(sum("num_shared"))} shared`));
}

function figure(group, named) {
  const states = Uint8Array.from(atob(group.states), character => character.charCodeAt(0));
  const part = group.num_shown < group.num_blocks ? `the first ${shown(group.num_shown)} of ${shown(group.num_blocks)} blocks` : "";
  const caption = [named ? group.name : "", part].filter(Boolean).join(", ");
  return element("figure", "blocks", picture(states, group.name), caption ? element("figcaption", "", caption) : "");
}

function picture(states, name) {
  const canvas = element("canvas");
  const room = $("blocks").clientWidth;
  const size = Math.max(LEAST_PX, Math.min(MOST_PX, Math.floor(Math.sqrt((room * HEIGHT_PX) / Math.max(1, states.length)))));
  const across = Math.max(1, Math.floor(room / size));
  canvas.width = across * size;
  canvas.height = Math.ceil(states.length / across) * size;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Blocks of ${name}`);
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const colours = STATES.map(state => style.getPropertyValue(`--${state}`));
  const gap = size > 4 ? 1 : 0;
  states.forEach((state, index) => {
    pen.fillStyle = colours[state];
    pen.fillRect((index % across) * size, Math.floor(index / across) * size, size - gap, size - gap);
  });
  return canvas;
}

const cards = CARDS.map(form => new Card(form));
let before = null;

async function look() {
  try {
    const response = await fetch("/dashboard/state").catch(() => { throw new Error("The server cannot be reached."); });
    const now = await response.json();
    if (!response.ok) throw new Error(now.error.message);
    $("fault").hidden = true;
    $("model").textContent = now.model;
    const seconds = before ? now.time_s - before.time_s : 0;
    if (seconds > 0) for (const card of cards) card.take(now, before, seconds);
    before = now;
    drawBlocks(now.kv);
  } catch (error) {
    $("fault").textContent = error.message;
    $("fault").hidden = false;
  }
  setTimeout(look, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => before && drawBlocks(before.kv));
$("board").prepend(...cards.map(card => card.node));
look();
