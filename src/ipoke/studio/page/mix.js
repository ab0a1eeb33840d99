/** Interpolation between two samples: a slider, and one more clip where it stops. */

import { sampleMix } from "./clips.js";
import { byId, make } from "./dom.js";
import { dropPreviews, wantPreview } from "./preview.js";
import { isGiven, stepped } from "./residuals.js";
import { state, subscribe } from "./state.js";

const QUARTER_TURN = Math.PI / 2;

function mixed() {
  const samples = state.answer?.samples ?? [];
  const [a, b] = [Number(byId("mix-a").value), Number(byId("mix-b").value)];
  if (!samples[a] || !samples[b] || a === b) return null;
  const share = Number(byId("mix-share").value);
  const words = `${Math.round(share * 100)} % of the way from sample ${a + 1} to sample ${b + 1}`;
  return { residual: stepped(samples[a].residual, samples[b].residual, share * QUARTER_TURN), words };
}

function slide() {
  const mix = mixed();
  if (mix) wantPreview(mix.residual);
}

function rest() {
  const mix = mixed();
  if (!mix) return;
  dropPreviews();
  sampleMix(mix.residual, mix.words);
}

/** List the samples that can be interpolated, by their numbers in the grid. */
function showChoices() {
  const samples = state.answer?.samples ?? [];
  const numbers = [...samples.keys()].filter((index) => !samples[index].mixed && !isGiven(samples[index].residual));
  const enough = numbers.length > 1;
  byId("mix").disabled = !enough || !state.answer.done;
  byId("mix-words").hidden = !samples.some((sample) => isGiven(sample.residual));
  offer(byId("mix-a"), enough ? numbers : [0, 1], 0);
  offer(byId("mix-b"), enough ? numbers : [0, 1], 1);
}

function offer(select, numbers, usual) {
  if (Array.from(select.options, (option) => Number(option.value)).join() === numbers.join()) return;
  const before = Number(select.value || -1);
  select.replaceChildren(...numbers.map((index) => make("option", { value: String(index) }, String(index + 1))));
  select.value = String(numbers.includes(before) ? before : numbers[usual]);
}

/** Make the slider work. */
export function startMix() {
  byId("mix-share").addEventListener("input", slide);
  byId("mix-share").addEventListener("change", rest);
  showChoices();
  subscribe((changed) => {
    if (changed.has("answer")) showChoices();
  });
}
