/** Bursts of small changes, by keys or a slider: previews during a burst; afterwards clips, and one step of undo. */

import { askSoon, sampleNow, stopAsking } from "./clips.js";
import { dropPreviews, wantPreview } from "./preview.js";
import { changeInBurst, endBurst } from "./state.js";

let describe = null;

/** Make a small change; `description` gives the status text once the burst is over. */
export function changeABit(patch, description) {
  describe = description;
  changeInBurst(patch);
  wantPreview();
  askSoon(settleBurst);
}

/** End a burst that is under way. */
export function settleBurst() {
  if (!endBurst()) return;
  stopAsking();
  dropPreviews();
  sampleNow(describe());
}
