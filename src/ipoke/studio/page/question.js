/** Questions to the server: the current one, that of the clips shown; pictures that the server has deleted are sent again. */

import * as api from "./api.js";
import { isGiven, same } from "./residuals.js";
import { state } from "./state.js";

/** The question with the current picture, pokes and settings, for some residuals. */
export function questionOf(residuals) {
  const { pokes, temperature, frames, guidance } = state;
  const question = { picture: state.picture.picture, pokes, residuals, temperature, guidance };
  return frames ? { ...question, frames } : question;
}

/** The question of the clips shown, for some of their residuals. */
export const questionShown = (residuals) => ({ ...state.answer.question, picture: state.picture.picture, residuals });

/** Whether there is anything to sample: a poke, or the residual of a video. */
export const hasQuestion = () => state.pokes.length > 0 || state.residuals.some(isGiven);

/** The residual of the selected sample. */
export const chosenResidual = () => state.answer?.samples[state.chosen]?.residual ?? state.residuals[0];

/** The residuals to sample: those drawn, and kept ones that are not among them. */
export function residualsWanted() {
  const extra = state.favourites.filter((kept) => !state.residuals.some((other) => same(kept, other)));
  return [...state.residuals, ...extra].slice(0, state.about.limits.samples);
}

/** Call the server about a picture (and the first one of its chain); pictures that it has deleted are sent again. */
export async function withPicture(question, ask, picture = state.picture, start = null) {
  try {
    return await ask(question);
  } catch (error) {
    const own = [picture, start].filter((one) => one?.file);
    if (error.status !== 404 || !own.length) throw error;
    for (const one of new Set(own)) one.picture = (await api.sendPicture(one.file)).picture;
    return ask({ ...question, picture: picture.picture, ...(start ? { start: start.picture } : {}) });
  }
}
