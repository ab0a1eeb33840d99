/** The last frame while a hand pulls: one request on its way, the newest waiting, older ones dropped. */

import * as api from "./api.js";
import { previewPainted, previewsBegin, previewsEnd } from "./latency.js";
import { sayError } from "./outage.js";
import { asksSomething, chosenResidual, questionOf, withPicture } from "./question.js";
import { change, state } from "./state.js";

let flying = null;
let waiting = null;

/** Ask what the last frame would be now, with the residual of the chosen sample or another. */
export function wantPreview(residual = chosenResidual()) {
  if (!asksSomething()) return;
  waiting = questionOf([residual]);
  if (!flying) next();
}

/** Forget previews that wait or fly. */
export function dropPreviews() {
  waiting = null;
  flying?.abort();
  flying = null;
  previewsEnd();
}

async function next() {
  const question = waiting;
  waiting = null;
  const request = new AbortController();
  flying = request;
  previewsBegin();
  try {
    const { file, reached } = await withPicture(question, (asked) => api.preview(asked, request.signal));
    const image = await createImageBitmap(file);
    if (request.signal.aborted) {
      image.close();
      return;
    }
    state.preview?.image.close();
    change({ preview: { image, reached } });
    previewPainted();
  } catch (error) {
    if (!request.signal.aborted && error.status !== 409) sayError(error);
  }
  if (flying !== request) return;
  flying = null;
  if (waiting) next();
}
