/** Pictures that the server has, ready to draw, and beginning anew with one. */

import * as api from "./api.js";
import { clearClips } from "./clips.js";
import { sayError } from "./outage.js";
import { isGiven, plain } from "./residuals.js";
import { change, commit, state } from "./state.js";
import { say } from "./words.js";

/** Fetch a picture that the server has. */
export async function loadPicture(id, name) {
  const file = await api.pictureFile(id);
  const image = await createImageBitmap(file);
  const known = state.about?.pictures.find((picture) => picture.picture === id);
  return { picture: id, name: known?.name ?? name, width: image.width, height: image.height, bundled: Boolean(known), image, file: known ? null : file };
}

/** The residuals for a picture that nobody has poked: a video's motion stays with the picture it moved. */
export const residualsAnew = () => (state.residuals.some(isGiven) ? plain(state.seed, state.count) : state.residuals);

/** Begin anew with a picture, perhaps with pokes and chance that came with it. */
export function usePicture(picture, given = {}) {
  const patch = { pokes: [], residuals: residualsAnew(), favourites: [], chain: [{ picture, from: null }], step: 0, ...given, picture, selected: null };
  clearClips();
  change({ ambiguities: [], hover: null, cursor: null });
  if (state.picture) commit(patch);
  else change(patch);
}

/** Show a bundled picture. */
export async function openBundled(id) {
  try {
    const picture = await loadPicture(id, id);
    usePicture(picture);
    say(`Picture: ${picture.name}.`);
  } catch (error) {
    sayError(error, () => openBundled(id));
  }
}
