/** Chance: seed, dice and lock, temperature, looking around a sample, and the way between two. */

import { askSoon, sampleMix, sampleNow } from "./clips.js";
import { byId, make, setIcon } from "./dom.js";
import { dropPreviews, wantPreview } from "./preview.js";
import { freshSeed, nearby, plain, same, stepped } from "./residuals.js";
import { change, commit, state, subscribe } from "./state.js";

const NEARBY_STEP = 0.35;
const MOST_SAMPLES = 9;
const LARGEST_SEED = 4294967295;

/** Kept residuals first, then new ones, as many as are wished and at least one new. */
function withFavourites(fresh) {
  return [...state.favourites, ...fresh].slice(0, Math.max(state.count, state.favourites.length + 1));
}

/** Take the residuals of a seed, without asking for clips. */
export function redraw(seed) {
  change({ seed, residuals: withFavourites(plain(seed, state.count)) });
}

/** Take the residuals of a seed and show them. */
export function useSeed(seed) {
  commit({ seed, residuals: withFavourites(plain(seed, state.count)) });
  sampleNow(`Seed ${seed}`);
}

/** Take a new seed and show it. */
export const newSeed = () => useSeed(freshSeed());

/** Look around a sample: small steps away from its residual. */
export function moreLike(index) {
  const { residual } = state.answer.samples[index];
  commit({ residuals: withFavourites(nearby(residual, state.count, NEARBY_STEP)) });
  sampleNow(`More like sample ${index + 1}`);
}

/** Keep a sample when new ones are drawn, or let it go. */
export function keepSample(index) {
  const { residual } = state.answer.samples[index];
  const kept = state.favourites.some((other) => same(other, residual));
  change({ favourites: kept ? state.favourites.filter((other) => !same(other, residual)) : [...state.favourites, residual] });
}

/** Whether a sample is kept. */
export const isKept = (sample) => sample.residual !== null && state.favourites.some((other) => same(other, sample.residual));

function useCount(count) {
  const more = plain(state.seed, count).filter((residual) => !state.residuals.some((other) => same(other, residual)));
  change({ count, residuals: [...state.residuals, ...more].slice(0, count) });
  if (state.pokes.length) sampleNow();
}

function mixed() {
  const samples = state.answer?.samples ?? [];
  const [a, b] = [samples[byId("mix-a").value], samples[byId("mix-b").value]];
  if (!a?.residual || !b?.residual || a === b) return null;
  const share = Number(byId("mix-share").value);
  const words = `${Math.round(share * 100)} % from sample ${Number(byId("mix-a").value) + 1} to ${Number(byId("mix-b").value) + 1}`;
  return { residual: stepped(a.residual, b.residual, (share * Math.PI) / 2), words };
}

function showMixChoices() {
  const samples = (state.answer?.samples ?? []).filter((sample) => !sample.mixed);
  const ready = Boolean(state.answer?.done) && !state.answer.transfer && samples.length > 1;
  byId("mix").disabled = !ready;
  for (const [id, fallback] of [["mix-a", 0], ["mix-b", 1]]) {
    const select = byId(id);
    if (select.options.length === samples.length) continue;
    const before = select.value;
    select.replaceChildren(...samples.map((_, index) => make("option", { value: String(index) }, String(index + 1))));
    select.value = before && Number(before) < samples.length ? before : String(Math.min(fallback, samples.length - 1));
  }
}

function showSeed() {
  const box = byId("seed");
  if (document.activeElement !== box || Number(box.value) !== state.seed) box.value = String(state.seed);
  const lock = byId("lock");
  setIcon(lock, state.locked ? "lock" : "unlock");
  lock.setAttribute("aria-pressed", String(state.locked));
  lock.title = state.locked ? "Locked: same mood, other pull" : "Open: every new pull draws anew";
  const explored = state.residuals.some((residual) => residual.length > 1);
  const words = state.locked ? "Locked: same mood, other pull." : "Open: every new pull draws anew.";
  byId("seed-words").textContent = explored ? `${words} Exploring around a sample; the dice start afresh.` : words;
}

/** Make the controls work. */
export function startChance() {
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
    change({ temperature: Number(event.target.value) });
    if (!state.pokes.length) return;
    wantPreview();
    askSoon(() => {
      dropPreviews();
      sampleNow(`Temperature ${state.temperature.toFixed(2)}`);
    });
  });
  byId("reaches").addEventListener("change", (event) => {
    change({ reaches: event.target.checked });
    if (state.pokes.length) sampleNow(state.reaches ? "Pokes pulled all the way" : "Pokes pulled as far as the model takes them");
  });
  const mixing = (done) => () => {
    const mix = mixed();
    if (!mix) return;
    if (!done) wantPreview(mix.residual);
    else {
      dropPreviews();
      sampleMix(mix.residual, mix.words);
    }
  };
  byId("mix-share").addEventListener("input", mixing(false));
  byId("mix-share").addEventListener("change", mixing(true));
  subscribe((changed) => {
    if (changed.has("about")) for (const option of byId("count").options) option.disabled = Number(option.value) > state.about.limits.samples;
    if (changed.has("answer")) showMixChoices();
    if (changed.has("seed") || changed.has("locked") || changed.has("residuals")) showSeed();
    if (changed.has("reaches")) byId("reaches").checked = state.reaches;
    if (changed.has("count")) byId("count").value = String(state.count);
    if (changed.has("temperature")) {
      byId("temperature").value = String(state.temperature);
      byId("temperature-value").textContent = state.temperature.toFixed(2);
    }
  });
}
