/** The session of a saved file or link beside its question: written here, and checked when read, as anybody can write one. */

import { askedOf, chainNow, chainStart } from "./chain.js";
import { isResidual } from "./residuals.js";
import { state } from "./state.js";

const LONGEST_CHAIN = 100;

/** Seeds and chain of the clips shown; the question itself holds the current step. */
export function historyNow() {
  const steps = chainStart() ? chainNow() : [];
  const chain = steps.map((step, index) => (index === state.step ? { from: step.from } : { ...askedOf(step), from: step.from }));
  return { ...seedsNow(), chain, step: state.step };
}

/** The seeds, which is all that a link holds beside the question. */
export const seedsNow = () => ({ seed: state.seed, locked: state.locked, favourites: state.favourites });

/** Read a session: the settings to restore, and the steps of its chain, without their pictures. */
export function readSession(question, history) {
  const { residuals } = question;
  const asked = {
    pokes: question.pokes ?? [],
    seed: isSeed(history?.seed) ? history.seed : (residuals.find(Array.isArray)?.[0][0] ?? 0),
    residuals,
    temperature: question.temperature ?? 1,
    frames: question.frames ?? null,
    guidance: question.guidance ?? question.reaches ?? true,
  };
  const favourites = Array.isArray(history?.favourites) ? history.favourites.filter(isResidual) : [];
  const steps = isChain(history) ? history.chain.map(renamed) : [];
  return { ...asked, count: residuals.length, favourites, locked: history?.locked ?? true, steps, step: steps.length ? history.step : 0 };
}

/** A step of a file that an older version wrote, with today's names. */
const renamed = ({ reaches, ...step }) => (reaches === undefined ? step : { ...step, guidance: reaches });

const isSeed = (value) => Number.isInteger(value) && value >= 0;

function isChain(history) {
  const { chain, step } = history ?? {};
  if (!Array.isArray(chain) || chain.length < 2 || chain.length > LONGEST_CHAIN || !chain[step]) return false;
  return chain.every((one, index) => (index === step || isAsked(one)) && (index === 0 || isAsked(one?.from)));
}

const isAsked = (one) => Array.isArray(one?.pokes) && Array.isArray(one.residuals) && one.residuals.length > 0 && one.residuals.every(isResidual);
