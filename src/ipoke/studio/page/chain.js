/**
 * The chain: a clip's last frame becomes the next picture. A step is {picture, from, pokes, seed, residuals, temperature,
 * frames, reaches}: what is asked of its picture, and in `from` the question, without its picture, whose clip ends with it.
 */

import * as api from "./api.js";
import { clearClips, sampleNow, stopAsking } from "./clips.js";
import { sayError } from "./outage.js";
import { loadPicture, residualsAnew } from "./pictures.js";
import { chosenResidual, questionShown, withPicture } from "./question.js";
import { change, commit, state } from "./state.js";
import { say } from "./words.js";

const ASKED = ["pokes", "seed", "residuals", "temperature", "frames", "reaches"];

/** What a step asks of its picture; without one, what is asked now. */
export const askedOf = (step = state) => Object.fromEntries(ASKED.map((name) => [name, step[name]]));

/** The chain with what is in hand written into its step. */
export function chainNow() {
  const now = { ...askedOf(), picture: state.picture };
  return state.chain.map((step, index) => (index === state.step ? { ...step, ...now } : step));
}

/** The picture that the chain began with; null where there is one step only, or where it is not there. */
export const chainStart = () => (state.chain.length > 1 ? state.chain[0].picture : null);

/** Make the last frame of the chosen sample the picture. */
export async function continueChain() {
  const before = state.picture;
  const { picture: _, ...from } = questionShown([chosenResidual()]);
  stopAsking();
  say("The last frame becomes the picture…");
  try {
    const picture = await lastFrame(before, from, state.step + 2);
    if (state.picture !== before) return;
    const chain = [...chainNow().slice(0, state.step + 1), { picture, from }];
    commit({ picture, pokes: [], selected: null, residuals: residualsAnew(), chain, step: chain.length - 1 });
    showStep();
    say(`Step ${chain.length}: the last frame is the picture now.`);
  } catch (error) {
    sayError(error, continueChain);
  }
}

async function lastFrame(picture, from, number) {
  const said = await withPicture({ ...from, picture: picture.picture }, api.continueFrom, picture);
  return loadPicture(said.picture, `step ${number}`);
}

/** Go to another step. */
export function goTo(index) {
  const chain = chainNow();
  const { picture } = chain[index];
  const asked = askedOf(chain[index]);
  commit({ ...asked, picture, count: asked.residuals.length, selected: null, chain, step: index });
  showStep();
  say(`Step ${index + 1}.`);
  if (state.pokes.length) sampleNow(`Step ${index + 1}`);
}

function showStep() {
  clearClips();
  change({ ambiguities: [], cursor: null });
}

/** Make the pictures of a reopened chain again, in order, each from the one before; `start` is the ID of the first. */
export async function rebuildChain(start) {
  const steps = state.chain;
  let picture = null;
  try {
    for (const [index, step] of steps.entries()) {
      if (!step.picture) {
        change({ rebuilding: `Step ${index + 1} of ${steps.length} comes back…` });
        step.picture = index ? await lastFrame(picture, step.from, index + 1) : await loadPicture(start, "step 1");
      }
      picture = step.picture;
    }
  } catch (error) {
    sayError(error, () => rebuildChain(start));
  } finally {
    change({ rebuilding: "" });
  }
}
