/** The question that the page would ask now, and pictures that the server has forgotten. */

import * as api from "./api.js";
import { same } from "./residuals.js";
import { state } from "./state.js";

/** The question about the picture and pokes in hand, for some residuals. */
export function questionOf(residuals) {
  const question = {
    picture: state.picture.picture,
    pokes: state.pokes,
    residuals,
    temperature: state.temperature,
    reaches: state.reaches,
  };
  if (state.frames) question.frames = state.frames;
  return question;
}

/** The residual of the sample that is shown big. */
export const chosenResidual = () => state.answer?.samples[state.chosen]?.residual ?? state.residuals[0];

/** The residuals to ask for: those drawn, and kept ones that are not among them. */
export function residualsWanted() {
  const extra = state.favourites.filter((kept) => !state.residuals.some((other) => same(kept, other)));
  return [...state.residuals, ...extra].slice(0, state.about.limits.samples);
}

/** Ask about a picture; where the server has forgotten it, send it again and ask once more. */
export async function withPicture(question, ask) {
  const { picture } = state;
  try {
    return await ask(question);
  } catch (error) {
    if (error.status !== 404 || !picture.file || question.picture !== picture.picture) throw error;
    picture.picture = (await api.sendPicture(picture.file)).picture;
    return ask({ ...question, picture: picture.picture });
  }
}
