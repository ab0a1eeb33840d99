/** The chain: a clip's last frame becomes the next picture; every step can be gone back to. */

import * as api from "./api.js";
import { isPin } from "./arrows.js";
import { clearClips, sampleNow, stopAsking } from "./clips.js";
import { byId, make } from "./dom.js";
import { loadPicture } from "./opening.js";
import { chosenResidual, questionOf, withPicture } from "./question.js";
import { change, commit, state, subscribe } from "./state.js";
import { counted, say, sayProblem } from "./words.js";

const THUMB = 112;

/** The chain with what is in hand written into its step. */
function chainNow() {
  const { picture, pokes, seed, residuals } = state;
  return state.chain.map((old, index) => (index === state.step ? { picture, pokes, seed, residuals } : old));
}

/** Make the last frame of the chosen sample the picture. */
export async function continueChain() {
  const residual = chosenResidual();
  stopAsking();
  try {
    const said = await withPicture(questionOf([residual]), api.continueFrom);
    const picture = await loadPicture(said.picture, `step ${state.step + 2}`);
    const chain = [...chainNow().slice(0, state.step + 1), { picture, pokes: [], seed: state.seed, residuals: state.residuals }];
    commit({ picture, pokes: [], selected: null, chain, step: chain.length - 1 });
    clearClips();
    change({ ambiguities: [], cursor: null });
    say(`Step ${chain.length}: the last frame is the picture now.`);
  } catch (error) {
    sayProblem(error.message, continueChain);
  }
}

function goTo(index) {
  if (index === state.step) return;
  const chain = chainNow();
  commit({ ...chain[index], selected: null, chain, step: index });
  clearClips();
  change({ ambiguities: [], cursor: null });
  say(`Step ${index + 1}.`);
  if (state.pokes.length) sampleNow(`Step ${index + 1}`);
}

function thumb({ picture, pokes }) {
  const canvas = make("canvas", { width: THUMB, height: THUMB });
  const ctx = canvas.getContext("2d");
  const scale = Math.max(THUMB / picture.width, THUMB / picture.height);
  ctx.imageSmoothingQuality = "high";
  ctx.translate((THUMB - picture.width * scale) / 2, (THUMB - picture.height * scale) / 2);
  ctx.drawImage(picture.image, 0, 0, picture.width * scale, picture.height * scale);
  ctx.lineCap = "round";
  for (const poke of pokes) {
    const [x, y] = [poke.x * scale, poke.y * scale];
    for (const [width, colour] of [[13, "#fff"], [7, isPin(poke) ? "#e5342b" : "#2b62d9"]]) {
      ctx.lineWidth = width;
      ctx.strokeStyle = colour;
      ctx.beginPath();
      ctx.moveTo(x, y);
      ctx.lineTo(x + poke.dx * scale + 0.01, y + poke.dy * scale);
      ctx.stroke();
    }
  }
  return canvas;
}

function showChain() {
  const steps = chainNow();
  byId("timeline").replaceChildren(
    ...steps.map((step, index) => {
      const words = `Step ${index + 1}, ${counted(step.pokes.length, "poke")}`;
      const button = make("button", { type: "button", className: "thumb", "aria-label": words, title: words }, thumb(step));
      if (index === state.step) button.setAttribute("aria-current", "step");
      button.addEventListener("click", () => goTo(index));
      return make("li", {}, button);
    }),
  );
  byId("chain").hidden = steps.length < 2;
}

/** Show the chain and make it work. */
export function startTimeline() {
  byId("continue").addEventListener("click", continueChain);
  subscribe((changed) => {
    const settled = !state.pull && ["picture", "pokes", "chain", "step", "pull"].some((name) => changed.has(name));
    if (settled && state.picture) showChain();
    if (changed.has("answer") || changed.has("chosen")) {
      byId("continue").disabled = !state.answer?.done || !state.answer.samples[state.chosen]?.residual;
    }
  });
}
