/** Motion transfer: a sample whose residual is that of a video. */

import * as api from "./api.js";
import { takeClips } from "./clips.js";
import { byId } from "./dom.js";
import { showStatus } from "./messages.js";
import { commit, state, subscribe } from "./state.js";

const USUAL = "Transfer the motion of a short video to this picture.";
const HOW_TO_VARY = " Drag the arrow to sample the same residual with another poke.";

/** Transfer the motion of a video; its residual and poke replace the current ones, so that they can be sampled again. */
export async function transferNow(file) {
  const name = file.name || "the video";
  showStatus(`Transferring the motion of ${name}…`);
  await takeClips({
    question: { picture: state.picture.picture, pokes: [], residuals: [], temperature: 1, guidance: false },
    ask: ({ picture }, signal) => api.transfer(picture, file, signal),
    finish: (answer, line) => {
      takeOver(answer, line);
      showStatus(`Motion of ${name} transferred; ${wordsOf(answer.transfer)}.`);
    },
    retry: () => transferNow(file),
  });
}

function takeOver(answer, { poke, given, round_trip: roundTrip }) {
  const residuals = [{ given }];
  const pokes = poke ? [poke] : [];
  answer.transfer = { roundTrip, poke };
  answer.samples[0].residual = residuals[0];
  Object.assign(answer.question, { pokes, residuals });
  commit({ pokes, selected: null, residuals, count: 1, temperature: 1, frames: null, guidance: false });
}

function wordsOf({ roundTrip, poke }) {
  const [x, y, dx, dy] = poke ? [poke.x, poke.y, poke.dx, poke.dy].map(Math.round) : [];
  const drag = poke ? `strongest motion from ${x},${y} by ${dx},${dy}` : "the video has no strong motion";
  return `${drag}; round-trip error ${roundTrip.toExponential(1)}`;
}

const capitalised = (words) => words[0].toUpperCase() + words.slice(1);

function show() {
  const transfer = state.answer?.transfer;
  byId("transfer-words").textContent = transfer ? `${capitalised(wordsOf(transfer))}.${transfer.poke ? HOW_TO_VARY : ""}` : USUAL;
}

/** Update the text after every answer. */
export function startTransfer() {
  subscribe((changed) => {
    if (changed.has("answer")) show();
  });
}
