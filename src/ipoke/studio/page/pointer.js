/** Pointer input on the picture: mouse, finger or pen. */

import { pokeAt } from "./arrows.js";
import { settleBurst } from "./burst.js";
import { byId } from "./dom.js";
import { pictureScale, toPicture } from "./picture.js";
import { beginMove, beginNew, cancelDrag, dragTo, endDrag } from "./poking.js";
import { change, state } from "./state.js";

const STILL = 4;
const REACH = { mouse: 13, pen: 16, touch: 24 };

let press = null;

function under(event, at) {
  const reach = (REACH[event.pointerType] ?? REACH.mouse) * pictureScale();
  return state.overlays.arrows ? pokeAt(state.pokes, at.x, at.y, reach, state.selected) : null;
}

function down(event) {
  if (!state.picture || press || !event.isPrimary || event.button !== 0) return;
  const canvas = byId("picture");
  settleBurst();
  if (state.drag) cancelDrag();
  const at = toPicture(event);
  change({ hover: at, cursor: null });
  const found = under(event, at);
  if (found) beginMove(found.index, found.part, at.x, at.y, "pointer");
  else if (!beginNew(at.x, at.y, "pointer")) return;
  press = { id: event.pointerId, x: event.clientX, y: event.clientY };
  canvas.setPointerCapture(event.pointerId);
}

function move(event) {
  if (!state.picture) return;
  const at = toPicture(event);
  if (!press) {
    if (event.pointerType !== "touch") change({ hover: at });
    byId("picture").style.cursor = under(event, at) ? "grab" : "crosshair";
    return;
  }
  if (event.pointerId !== press.id || !state.drag) return;
  if (!state.drag.moved && Math.hypot(event.clientX - press.x, event.clientY - press.y) < STILL) return;
  byId("picture").style.cursor = "grabbing";
  dragTo(at.x, at.y);
}

function up(event) {
  if (press?.id !== event.pointerId) return;
  press = null;
  byId("picture").style.cursor = "crosshair";
  if (state.drag?.by === "pointer") endDrag();
}

function lost(event) {
  if (press?.id !== event.pointerId) return;
  press = null;
  cancelDrag();
}

/** Listen to the pointer. */
export function startPointer() {
  const canvas = byId("picture");
  canvas.addEventListener("pointerdown", down);
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", lost);
  canvas.addEventListener("pointerleave", () => {
    if (!press) change({ hover: null });
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
}
