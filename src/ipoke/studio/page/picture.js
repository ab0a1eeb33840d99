/** The main canvas: the picture or the selected sample, the overlay, the pokes and the cursor. */

import { drawCursor, drawLimit, drawPoke, drawReached } from "./arrows.js";
import { byId, fitCanvas } from "./dom.js";
import { movingFramePainted } from "./latency.js";
import { paintOverlay } from "./overlays.js";
import { frameNow, isPlaying, lastFrame, onPaint, repaint } from "./player.js";
import { longestDrag } from "./poking.js";
import { state, subscribe } from "./state.js";

const NEAR_LIMIT = 0.8;
const canvas = byId("picture");

/** Screen coordinates to px of the picture. */
export function toPicture(event) {
  const box = canvas.getBoundingClientRect();
  const scale = state.picture.width / box.width;
  return { x: (event.clientX - box.left) * scale - 0.5, y: (event.clientY - box.top) * scale - 0.5 };
}

/** Picture px per screen px. */
export const pictureScale = () => state.picture.width / (canvas.clientWidth || 1);

/** A frame of a sample, or the last one before it that has arrived; null for the picture. */
export function frameOf(sample, number) {
  for (let frame = number; frame > 0; frame -= 1) if (sample.frames[frame]) return sample.frames[frame];
  return null;
}

/** Whether to show the picture instead of the clip: during a drag, and under the motion correlation. */
const stillWanted = () => Boolean(state.drag || (state.overlays.correlation && state.hover));

function shown() {
  if (state.preview) return state.preview.image;
  const sample = state.answer?.samples[state.chosen];
  const moving = sample && !stillWanted() ? frameOf(sample, frameNow()) : null;
  if (moving) movingFramePainted();
  return moving ?? state.picture.image;
}

function paint() {
  if (!state.picture) return;
  const { width, height, ratio } = fitCanvas(canvas);
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(shown(), 0, 0, width, height);
  paintOverlay(ctx, width, height);
  const scale = width / state.picture.width;
  if (state.overlays.arrows) paintPokes(ctx, scale, width);
  if (state.cursor && document.activeElement === canvas) drawCursor(ctx, state.cursor, scale);
}

function paintPokes(ctx, scale, width) {
  const { drag } = state;
  if (drag?.part === "head" && drag.moved) {
    const poke = state.pokes[drag.index];
    const longest = longestDrag();
    if (drag.pointer || Math.hypot(poke.dx, poke.dy) > NEAR_LIMIT * longest) drawLimit(ctx, poke, longest, drag.pointer, scale);
  }
  const faint = isPlaying() && !drag;
  state.pokes.forEach((poke, index) => drawPoke(ctx, poke, index, scale, { selected: index === state.selected, faint }));
  const reached = reachedNow();
  reached.forEach((point, index) => {
    if (state.pokes[index]) drawReached(ctx, state.pokes[index], point, index, scale, width);
  });
}

/** The poked points' final positions, during a preview or at the last frame of a clip of these pokes. */
function reachedNow() {
  if (state.preview) return state.preview.reached;
  if (stillWanted() || !state.answer || frameNow() < lastFrame()) return [];
  if (JSON.stringify(state.answer.question.pokes) !== JSON.stringify(state.pokes)) return [];
  return state.answer.samples[state.chosen]?.reached ?? [];
}

function shape() {
  const { width, height } = state.picture;
  byId("frame").style.aspectRatio = `${width} / ${height}`;
  byId("stage").style.setProperty("--shape", String(width / height));
}

/** Paint on every change. */
export function startPicture() {
  onPaint(paint);
  new ResizeObserver(repaint).observe(canvas);
  canvas.addEventListener("focus", repaint);
  canvas.addEventListener("blur", repaint);
  subscribe((changed) => {
    if (changed.has("picture") && state.picture) shape();
    if (changed.has("waiting")) byId("frame").classList.toggle("waiting", state.waiting);
  });
}
