/** Sampling controls: seed and lock, number of samples, temperature, guidance; variations of a sample. */

import { changeABit } from "./burst.js";
import { sampleNow } from "./clips.js";
import { byId, make, setIcon } from "./dom.js";
import { freshSeed, isGiven, nearby, plain, same } from "./residuals.js";
import { change, commit, state, subscribe } from "./state.js";

const NEARBY_STEP = 0.35;
const MOST_SAMPLES = 9;
const LARGEST_SEED = 4294967295;

/** Kept residuals first, then new ones: as many as requested, at least one of them new. */
function withFavourites(fresh) {
  return [...state.favourites, ...fresh].slice(0, Math.max(state.count, state.favourites.length + 1));
}

/** Use the residuals of a seed, without sampling. */
export function redraw(seed) {
  change({ seed, residuals: withFavourites(plain(seed, state.count)) });
}

/** Use the residuals of a seed, and sample. */
function useSeed(seed) {
  commit({ seed, residuals: withFavourites(plain(seed, state.count)) });
  sampleNow(`Seed ${seed}`);
}

/** Draw a new seed, and sample. */
export const newSeed = () => useSeed(freshSeed());

/** Sample variations: residuals a small step away from that of a sample. */
export function moreLike(index) {
  const { residual } = state.answer.samples[index];
  commit({ residuals: withFavourites(nearby(residual, state.count, NEARBY_STEP)) });
  sampleNow(`More like sample ${index + 1}`);
}

/** Keep a sample when new ones are drawn, or no longer. */
export function keepSample(index) {
  const { residual } = state.answer.samples[index];
  const kept = state.favourites.some((other) => same(other, residual));
  change({ favourites: kept ? state.favourites.filter((other) => !same(other, residual)) : [...state.favourites, residual] });
}

/** Whether a sample is kept. */
export const isKept = (sample) => state.favourites.some((other) => same(other, sample.residual));

function useCount(count) {
  const more = plain(state.seed, count).filter((residual) => !state.residuals.some((other) => same(other, residual)));
  commit({ count, residuals: [...state.residuals, ...more].slice(0, count) });
  sampleNow(`Count ${count}`);
}

function showSeed() {
  const box = byId("seed");
  if (document.activeElement !== box || Number(box.value) !== state.seed) box.value = String(state.seed);
  const lock = byId("lock");
  const words = state.locked ? "Locked: new pokes use the same seed." : "Unlocked: every new poke draws a new seed.";
  setIcon(lock, state.locked ? "lock" : "unlock");
  lock.setAttribute("aria-pressed", String(state.locked));
  lock.title = words;
  byId("seed-words").textContent = [words, originWords()].filter(Boolean).join(" ");
}

/** Where residuals come from that were not drawn from the seed alone. */
function originWords() {
  if (state.residuals.some(isGiven)) return "The residual comes from a video; a new seed replaces it.";
  return state.residuals.some((residual) => residual.length > 1) ? "These are variations of a sample; a new seed replaces them." : "";
}

/** Make the controls work. */
export function startSampling() {
  byId("count").append(...Array.from({ length: MOST_SAMPLES }, (_, index) => make("option", { value: String(index + 1) }, String(index + 1))));
  byId("count").value = String(state.count);
  byId("count").addEventListener("change", (event) => useCount(Number(event.target.value)));
  byId("seed").addEventListener("change", (event) => {
    const seed = Math.min(LARGEST_SEED, Math.max(0, Math.round(Number(event.target.value) || 0)));
    event.target.value = String(seed);
    useSeed(seed);
  });
  byId("dice").addEventListener("click", newSeed);
  byId("lock").addEventListener("click", () => change({ locked: !state.locked }));
  byId("temperature").addEventListener("input", (event) => {
    changeABit({ temperature: Number(event.target.value) }, () => `Temperature ${state.temperature.toFixed(2)}`);
  });
  byId("guidance").addEventListener("change", (event) => {
    commit({ guidance: event.target.checked });
    sampleNow(state.guidance ? "Guidance on" : "Guidance off");
  });
  subscribe((changed) => {
    if (changed.has("about")) for (const option of byId("count").options) option.disabled = Number(option.value) > state.about.limits.samples;
    if (changed.has("seed") || changed.has("locked") || changed.has("residuals")) showSeed();
    if (changed.has("guidance")) byId("guidance").checked = state.guidance;
    if (changed.has("count")) byId("count").value = String(state.count);
    if (changed.has("temperature")) {
      byId("temperature").value = String(state.temperature);
      byId("temperature-value").textContent = state.temperature.toFixed(2);
    }
  });
}
