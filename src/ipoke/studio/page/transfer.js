/** The motion of a video on this picture: a sample like others, whose residual is given. */

import * as api from "./api.js";
import { takeClips } from "./clips.js";
import { byId } from "./dom.js";
import { commit, state, subscribe } from "./state.js";
import { say } from "./words.js";

const USUAL = "The motion of a short video, moved onto this picture.";

/** Move the picture with the motion of a video; what is in hand becomes the question that samples the same. */
export async function transferNow(file) {
  const name = file.name || "the video";
  say(`Reading the motion of ${name}…`);
  await takeClips({
    question: { picture: state.picture.picture, pokes: [], residuals: [], temperature: 1, reaches: false },
    ask: ({ picture }, signal) => api.transfer(picture, file, signal),
    finish: (answer, line) => {
      takeOver(answer, line);
      say(`The motion of ${name} moves the picture; ${wordsOf(answer.transfer)}.`);
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
  commit({ pokes, selected: null, residuals, count: 1, temperature: 1, frames: null, reaches: false });
}

function wordsOf({ roundTrip, poke }) {
  const [x, y, dx, dy] = poke ? [poke.x, poke.y, poke.dx, poke.dy].map(Math.round) : [];
  const pull = poke ? `its strongest motion goes from ${x},${y} by ${dx},${dy}` : "nothing moves much in it";
  return `${pull}; round trip to ${roundTrip.toExponential(1)}`;
}

function show() {
  const transfer = state.answer?.transfer;
  const words = transfer ? wordsOf(transfer) : "";
  byId("transfer-words").textContent = transfer ? `${words[0].toUpperCase()}${words.slice(1)}. Drag its arrow: same motion, other pull.` : USUAL;
}

/** Keep the words up to date. */
export function startTransfer() {
  subscribe((changed) => {
    if (changed.has("answer")) show();
  });
}
