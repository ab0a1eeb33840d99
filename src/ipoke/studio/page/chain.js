/**
 * The chain: a clip's last frame becomes the next picture. A step is {picture, from, pokes, seed, residuals, temperature,
 * frames, guidance}: the settings of its samples, and in `from` the question, without its picture, that made the picture.
 */

import * as api from "./api.js";
import { clearClips, sampleNow, stopAsking } from "./clips.js";
import { showStatus } from "./messages.js";
import { showError } from "./outage.js";
import { loadPicture, residualsAnew } from "./pictures.js";
import { chosenResidual, questionShown, withPicture } from "./question.js";
import { change, commit, state } from "./state.js";

const ASKED = ["pokes", "seed", "residuals", "temperature", "frames", "guidance"];

/** The settings of a step, or the current ones. */
export const askedOf = (step = state) => Object.fromEntries(ASKED.map((name) => [name, step[name]]));

/** The chain, with the current settings written into the current step. */
export function chainNow() {
  const now = { ...askedOf(), picture: state.picture };
  return state.chain.map((step, index) => (index === state.step ? { ...step, ...now } : step));
}

/** The first picture of the chain; null where there is only one step, or the picture is missing. */
export const chainStart = () => (state.chain.length > 1 ? state.chain[0].picture : null);

/** Use the last frame of the selected sample as the next picture. */
export async function continueChain() {
  const before = state.picture;
  const { picture: _, ...from } = questionShown([chosenResidual()]);
  stopAsking();
  showStatus("Loading the last frame…");
  try {
    const picture = await lastFrame(before, from, state.step + 2);
    if (state.picture !== before) return;
    const chain = [...chainNow().slice(0, state.step + 1), { picture, from }];
    commit({ picture, pokes: [], selected: null, residuals: residualsAnew(), chain, step: chain.length - 1 });
    showStep();
    showStatus(`Step ${chain.length}: the last frame is now the picture.`);
  } catch (error) {
    showError(error, continueChain);
  }
}

async function lastFrame(picture, from, number) {
  const reply = await withPicture({ ...from, picture: picture.picture }, api.continueFrom, picture);
  return loadPicture(reply.picture, `step ${number}`);
}

/** Go to another step. */
export function goTo(index) {
  const chain = chainNow();
  const { picture } = chain[index];
  const asked = askedOf(chain[index]);
  commit({ ...asked, picture, count: asked.residuals.length, selected: null, chain, step: index });
  showStep();
  showStatus(`Step ${index + 1}.`);
  if (state.pokes.length) sampleNow(`Step ${index + 1}`);
}

function showStep() {
  clearClips();
  change({ ambiguities: [], cursor: null });
}

/** Compute the pictures of a reopened chain again, each from the previous one; `start` is the ID of the first. */
export async function rebuildChain(start) {
  const steps = state.chain;
  let picture = null;
  try {
    for (const [index, step] of steps.entries()) {
      if (!step.picture) {
        change({ rebuilding: `Restoring step ${index + 1} of ${steps.length}…` });
        step.picture = index ? await lastFrame(picture, step.from, index + 1) : await loadPicture(start, "step 1");
      }
      picture = step.picture;
    }
  } catch (error) {
    showError(error, () => rebuildChain(start));
  } finally {
    change({ rebuilding: "" });
  }
}
