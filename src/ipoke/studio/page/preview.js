/** Previews of the last frame during a drag: one request runs, the newest waits, older ones are dropped. */

import * as api from "./api.js";
import { previewPainted, previewsBegin, previewsEnd } from "./latency.js";
import { showError } from "./outage.js";
import { chosenResidual, hasQuestion, questionOf, withPicture } from "./question.js";
import { change, state } from "./state.js";

let running = null;
let waiting = null;

/** Request a preview, with the residual of the selected sample or another. */
export function wantPreview(residual = chosenResidual()) {
  if (!hasQuestion()) return;
  waiting = questionOf([residual]);
  if (!running) next();
}

/** Cancel the running and the waiting preview. */
export function dropPreviews() {
  waiting = null;
  running?.abort();
  running = null;
  previewsEnd();
}

async function next() {
  const question = waiting;
  waiting = null;
  const request = new AbortController();
  running = request;
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
    if (!request.signal.aborted && error.status !== 409) showError(error);
  }
  if (running !== request) return;
  running = null;
  if (waiting) next();
}
