/** The question that the page would ask now, that of the clips shown, and pictures that the server has forgotten. */

import * as api from "./api.js";
import { isGiven, same } from "./residuals.js";
import { state } from "./state.js";

/** The question about the picture and pokes in hand, for some residuals. */
export function questionOf(residuals) {
  const { pokes, temperature, frames, reaches } = state;
  const question = { picture: state.picture.picture, pokes, residuals, temperature, reaches };
  return frames ? { ...question, frames } : question;
}

/** The question that the clips shown answer, for some of their residuals. */
export const questionShown = (residuals) => ({ ...state.answer.question, picture: state.picture.picture, residuals });

/** Whether there is anything to ask: without a poke nothing moves, but a video's motion moves by itself. */
export const asksSomething = () => state.pokes.length > 0 || state.residuals.some(isGiven);

/** The residual of the sample that is shown big. */
export const chosenResidual = () => state.answer?.samples[state.chosen]?.residual ?? state.residuals[0];

/** The residuals to ask for: those drawn, and kept ones that are not among them. */
export function residualsWanted() {
  const extra = state.favourites.filter((kept) => !state.residuals.some((other) => same(kept, other)));
  return [...state.residuals, ...extra].slice(0, state.about.limits.samples);
}

/** Ask about a picture, and perhaps the one that began its chain; what the server has forgotten is sent again. */
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
