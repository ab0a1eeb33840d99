/** Bursts of small changes, by keys or a slider: previews while they last, clips and one step of undo once they rest. */

import { askSoon, sampleNow, stopAsking } from "./clips.js";
import { dropPreviews, wantPreview } from "./preview.js";
import { changeInBurst, endBurst } from "./state.js";

let what = null;

/** Make a small change; `words` says what happened once the burst is over. */
export function changeABit(patch, words) {
  what = words;
  changeInBurst(patch);
  wantPreview();
  askSoon(settleBurst);
}

/** End a burst that is under way. */
export function settleBurst() {
  if (!endBurst()) return;
  stopAsking();
  dropPreviews();
  sampleNow(what());
}
