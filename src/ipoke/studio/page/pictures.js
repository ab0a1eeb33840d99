/** Load pictures from the server, and start over with one. */

import * as api from "./api.js";
import { clearClips } from "./clips.js";
import { showStatus } from "./messages.js";
import { showError } from "./outage.js";
import { isGiven, plain } from "./residuals.js";
import { change, commit, state } from "./state.js";

/** Fetch a picture from the server. */
export async function loadPicture(id, name) {
  const file = await api.pictureFile(id);
  const image = await createImageBitmap(file);
  const known = state.about?.pictures.find((picture) => picture.picture === id);
  return { picture: id, name: known?.name ?? name, width: image.width, height: image.height, bundled: Boolean(known), image, file: known ? null : file };
}

/** The residuals for a new picture: that of a video's motion is not taken over. */
export const residualsAnew = () => (state.residuals.some(isGiven) ? plain(state.seed, state.count) : state.residuals);

/** Start over with a picture, and with the pokes and seeds of a session if given. */
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
    showStatus(`Picture: ${picture.name}.`);
  } catch (error) {
    showError(error, () => openBundled(id));
  }
}
