/** What is said of a video whose motion moves the picture, and its strongest pull as a poke. */

import { sampleNow, transferWords } from "./clips.js";
import { byId } from "./dom.js";
import { commit, state, subscribe } from "./state.js";

const USUAL = "The motion of a short video, moved onto this picture.";

function usePull() {
  const { poke } = state.answer.transfer;
  const pull = { x: Math.round(poke.x), y: Math.round(poke.y), dx: Math.round(poke.dx), dy: Math.round(poke.dy) };
  commit({ pokes: [pull], selected: null });
  sampleNow("The video's strongest pull");
}

function show() {
  const transfer = state.answer?.transfer;
  const words = transfer ? transferWords(transfer) : "";
  byId("transfer-words").textContent = transfer ? `${words[0].toUpperCase()}${words.slice(1)}.` : USUAL;
  byId("transfer-poke").hidden = !transfer?.poke;
}

/** Keep the words up to date and make the button work. */
export function startTransfer() {
  byId("transfer-poke").addEventListener("click", usePull);
  subscribe((changed) => {
    if (changed.has("answer")) show();
  });
}
