/** How many frames a clip has. */

import { sampleNow } from "./clips.js";
import { byId } from "./dom.js";
import { counted } from "./messages.js";
import { commit, state, subscribe } from "./state.js";

function useFrames(wanted) {
  const { model, limits } = state.about;
  const frames = Math.min(limits.frames, Math.max(1, Math.round(wanted) || model.frames));
  const next = frames === model.frames ? null : frames;
  if (next === state.frames) return show();
  commit({ frames: next });
  return sampleNow(counted(frames, "frame"));
}

function show() {
  const { model, limits } = state.about;
  const box = byId("frames");
  box.max = String(limits.frames);
  box.value = String(state.frames ?? model.frames);
  box.title = `1 to ${limits.frames} frames; the model was trained on ${model.frames}`;
}

/** Make the control work. */
export function startFrames() {
  byId("frames").addEventListener("change", (event) => useFrames(Number(event.target.value)));
  subscribe((changed) => {
    if (state.about && (changed.has("about") || changed.has("frames"))) show();
  });
}
