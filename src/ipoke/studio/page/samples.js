/** The grid of samples: all at the same frame, each with its log-likelihood and tools. */

import { byId, fitCanvas, icon, make } from "./dom.js";
import { showStatus } from "./messages.js";
import { frameOf } from "./picture.js";
import { frameNow, onPaint, repaint } from "./player.js";
import { isGiven } from "./residuals.js";
import { isKept, keepSample, moreLike } from "./sampling.js";
import { change, state, subscribe } from "./state.js";

const tiles = [];
let built = null;

/** Select a sample, which the main canvas shows. */
export function chooseSample(index) {
  if (!state.answer?.samples[index]) return;
  change({ chosen: index });
  showStatus(`Sample ${index + 1} selected.`);
}

function build() {
  const samples = state.answer?.samples ?? [];
  tiles.length = 0;
  samples.forEach((_, index) => tiles.push(tile(index)));
  byId("samples").replaceChildren(...tiles.map((made) => made.figure));
  byId("samples-empty").hidden = samples.length > 0;
}

function tile(index) {
  const canvas = make("canvas");
  canvas.style.aspectRatio = `${state.answer.width} / ${state.answer.height}`;
  const number = make("span", { className: "number", "aria-hidden": "true" }, String(index + 1));
  const choose = make("button", { type: "button", className: "choose", "aria-label": `Select sample ${index + 1}` }, canvas, number);
  const bits = make("span", { className: "bits" }, "…");
  const mark = make("span", { className: "rank-mark" }, make("i"));
  const rank = make("span", { className: "rank-words" });
  const keep = make("button", { type: "button", className: "keep", title: "Keep this sample when others are redrawn" }, icon("star"));
  const more = make("button", { type: "button", className: "more" });
  mark.setAttribute("aria-hidden", "true");
  keep.setAttribute("aria-label", `Keep sample ${index + 1}`);
  choose.addEventListener("click", () => chooseSample(index));
  keep.addEventListener("click", () => keepSample(index));
  more.addEventListener("click", () => moreLike(index));
  const caption = make("figcaption", {}, bits, make("span", { className: "rank" }, mark, rank));
  const figure = make("figure", { className: "sample" }, choose, caption, make("div", { className: "tile-tools" }, keep, more));
  return { figure, canvas, choose, bits, mark, rank, keep, more };
}

function describe() {
  const samples = state.answer?.samples ?? [];
  const ranked = samples.filter((sample) => !sample.mixed).length;
  tiles.forEach((made, index) => {
    const sample = samples[index];
    const chosen = index === state.chosen;
    made.figure.classList.toggle("chosen", chosen);
    made.choose.setAttribute("aria-pressed", String(chosen));
    made.bits.textContent = sample.bits === null ? "…" : `${sample.bits.toFixed(3).replace("-", "−")} bits/dim`;
    const placed = sample.rank !== null && !sample.mixed && ranked > 1;
    made.mark.hidden = !placed;
    if (placed) made.mark.firstChild.style.left = `${(100 * sample.rank) / (ranked - 1)}%`;
    made.rank.textContent = sample.mixed ? sample.mixed : placed ? rankWords(sample.rank, ranked) : "";
    const given = isGiven(sample.residual);
    made.keep.disabled = sample.residual === null;
    made.more.disabled = !state.answer.done || given;
    made.more.textContent = given ? "From a video" : "More like this";
    made.more.setAttribute("aria-label", `${made.more.textContent}, sample ${index + 1}`);
    made.more.title = given ? "The residual of a video was not drawn from a seed, so it has no variations" : "";
    made.keep.setAttribute("aria-pressed", String(isKept(sample)));
  });
}

function rankWords(rank, of) {
  if (rank === 0) return "most likely";
  if (rank === of - 1) return "least likely";
  return rank < (of - 1) / 2 ? "likely" : rank > (of - 1) / 2 ? "unlikely" : "median";
}

function paint() {
  if (!state.answer) return;
  const number = frameNow();
  state.answer.samples.forEach((sample, index) => {
    const made = tiles[index];
    if (!made) return;
    const image = frameOf(sample, number) ?? state.picture.image;
    const { width, height, ratio } = fitCanvas(made.canvas);
    if (made.image === image && made.width === width) return;
    made.image = image;
    made.width = width;
    const ctx = made.canvas.getContext("2d");
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.imageSmoothingQuality = "high";
    ctx.drawImage(image, 0, 0, width, height);
  });
}

/** Show the grid and keep it up to date. */
export function startSamples() {
  onPaint(paint);
  new ResizeObserver(() => {
    for (const made of tiles) made.image = null;
    repaint();
  }).observe(byId("samples"));
  subscribe((changed) => {
    if (changed.has("answer") || changed.has("chosen") || changed.has("favourites")) {
      const shape = state.answer && [state.answer.samples.length, state.answer.width, state.answer.height].join(" ");
      if (shape !== built) {
        built = shape;
        build();
      }
      describe();
    }
    if (changed.has("waiting")) byId("samples").setAttribute("aria-busy", String(state.waiting));
  });
}
