/** Latency: from release to the first moving frame on screen, and previews per second. */

import { byId, make } from "./dom.js";
import { counted } from "./messages.js";

const figures = { first: null, all: null, samples: 0, rate: null };
let released = null;
let armed = false;
let painted = 0;
let since = null;

/** The pointer was released: start the clock. */
export function release() {
  released = performance.now();
  armed = false;
  byId("latency").textContent = "sampling…";
}

/** No request is running any more. */
export function settled() {
  armed = false;
  show();
}

/** The requested clip begins to arrive: its first moving frame stops the clock. */
export function clipBegins() {
  armed = released !== null;
}

/** A moving frame was painted; counts once for every clip. */
export function movingFramePainted() {
  if (!armed) return;
  armed = false;
  figures.first = performance.now() - released;
  document.body.dataset.firstFrameMs = figures.first.toFixed(1);
  show();
}

/** All samples have arrived. */
export function allArrived(samples) {
  if (released === null) return;
  figures.samples = samples;
  figures.all = performance.now() - released;
  document.body.dataset.allFramesMs = figures.all.toFixed(1);
  show();
}

/** Previews begin: count from here, unless already counting. */
export function previewsBegin() {
  if (since !== null) return;
  since = performance.now();
  painted = 0;
}

/** A preview was painted. */
export function previewPainted() {
  painted += 1;
  const seconds = (performance.now() - since) / 1000;
  if (since === null || seconds < 0.2) return;
  figures.rate = painted / seconds;
  document.body.dataset.previewRate = figures.rate.toFixed(1);
  show();
}

/** Previews end. */
export function previewsEnd() {
  since = null;
}

function show() {
  const parts = [];
  if (figures.first !== null) parts.push(`first frame ${Math.round(figures.first)} ms`);
  if (figures.all !== null) parts.push(`${counted(figures.samples, "sample")} ${Math.round(figures.all)} ms`);
  if (figures.rate !== null) parts.push(`preview ${Math.round(figures.rate)}/s`);
  byId("latency").replaceChildren(...parts.map((part) => make("span", {}, part)));
}
