/** Edit pokes by pointer or keys: drag, move, pin, select, delete. */

import { isPin } from "./arrows.js";
import { changeABit } from "./burst.js";
import { sampleNow, stopAsking } from "./clips.js";
import { showProblem, showStatus } from "./messages.js";
import { dropPreviews, wantPreview } from "./preview.js";
import { freshSeed } from "./residuals.js";
import { redraw } from "./sampling.js";
import { change, commit, restore, snapshot, state } from "./state.js";

/** The longest drag, px. */
export const longestDrag = () => Math.min(state.picture.width, state.picture.height) / 3;

const inside = (value, size) => Math.min(size - 1, Math.max(0, Math.round(value)));
const withPoke = (index, poke) => state.pokes.map((old, place) => (place === index ? poke : old));

/** Begin a new drag at a point; false where there are too many pokes already. */
export function beginNew(x, y, by) {
  const most = state.about?.limits.pokes ?? Infinity;
  if (state.pokes.length >= most) {
    showProblem(`At most ${most} pokes are possible; delete one first.`);
    return false;
  }
  const before = snapshot();
  if (!state.locked) redraw(freshSeed());
  const poke = { x: inside(x, state.picture.width), y: inside(y, state.picture.height), dx: 0, dy: 0 };
  change({ pokes: [...state.pokes, poke], selected: state.pokes.length });
  change({ drag: { index: state.pokes.length - 1, part: "head", fresh: true, moved: false, by, before, pointer: null, grab: { x: 0, y: 0 } } });
  return true;
}

/** Begin to drag a poke's dot or head. */
export function beginMove(index, part, x, y, by) {
  const before = snapshot();
  const poke = state.pokes[index];
  const held = part === "head" ? { x: poke.x + poke.dx, y: poke.y + poke.dy } : poke;
  change({ selected: index, drag: { index, part, fresh: false, moved: false, by, before, pointer: null, grab: { x: held.x - x, y: held.y - y } } });
}

/** Drag to a point. */
export function dragTo(x, y) {
  const { drag } = state;
  if (!drag.moved) stopAsking();
  const at = { x: x + drag.grab.x, y: y + drag.grab.y };
  const old = state.pokes[drag.index];
  const poke = drag.part === "head" ? dragged(old, at) : moved(old, at);
  const pointer = drag.part === "head" && Math.hypot(at.x - old.x, at.y - old.y) > longestDrag() ? at : null;
  change({ pokes: withPoke(drag.index, poke), drag: { ...drag, moved: true, pointer } });
  if (!isPin(poke) || drag.part === "tail") wantPreview();
}

function dragged(poke, at) {
  const [dx, dy] = [at.x - poke.x, at.y - poke.y];
  const longest = longestDrag();
  const share = Math.min(1, longest / (Math.hypot(dx, dy) || 1));
  const target = [inside(poke.x + dx * share, state.picture.width), inside(poke.y + dy * share, state.picture.height)];
  const next = { ...poke, dx: target[0] - poke.x, dy: target[1] - poke.y };
  if (Math.hypot(next.dx, next.dy) > longest) {
    next.dx = Math.trunc(dx * share);
    next.dy = Math.trunc(dy * share);
  }
  return next;
}

function moved(poke, at) {
  const { width, height } = state.picture;
  const within = (value, offset, size) => Math.min(size - 1 - Math.max(0, offset), Math.max(-Math.min(0, offset), Math.round(value)));
  return { ...poke, x: within(at.x, poke.dx, width), y: within(at.y, poke.dy, height) };
}

/** End a drag: it becomes a poke, a click becomes a pin, and clips are requested. */
export function endDrag() {
  const { drag } = state;
  if (!drag) return;
  change({ drag: null });
  dropPreviews();
  if (!drag.fresh && !drag.moved) {
    showStatus(`Poke ${drag.index + 1} selected.`);
    return;
  }
  commit({ pokes: state.pokes }, drag.before);
  sampleNow(described(drag.index));
}

/** Cancel a drag. */
export function cancelDrag() {
  if (!state.drag) return;
  const { before } = state.drag;
  dropPreviews();
  change({ drag: null, preview: null });
  restore(before);
  if (state.answer && !state.answer.done) sampleNow("Drag cancelled");
  else showStatus("Drag cancelled.");
}

/** Pin a point. */
export function pinAt(x, y, by) {
  if (beginNew(x, y, by)) endDrag();
}

/** Delete a poke. */
export function removePoke(index) {
  if (!state.pokes[index]) return;
  commit({ pokes: state.pokes.filter((_, place) => place !== index), selected: null });
  sampleNow(`Poke ${index + 1} deleted`);
}

/** Delete all pokes. */
export function clearPokes() {
  if (!state.pokes.length) return;
  commit({ pokes: [], selected: null });
  sampleNow("All pokes deleted");
}

/** Select a poke, or none. */
export function selectPoke(index) {
  change({ selected: index });
  if (index !== null) showStatus(`${described(index)} selected.`);
}

/** Move the selected poke by some px. */
export function nudgeSelected(dx, dy) {
  const index = state.selected;
  const poke = state.pokes[index];
  changeABit({ pokes: withPoke(index, moved(poke, { x: poke.x + dx, y: poke.y + dy })) }, () => described(index));
}

/** A poke in words. */
function described(index) {
  const poke = state.pokes[index];
  const [x, y, dx, dy] = [poke.x, poke.y, poke.dx, poke.dy].map(Math.round);
  return isPin(poke) ? `Pin ${index + 1} at ${x},${y}` : `Poke ${index + 1} from ${x},${y} by ${dx},${dy}`;
}
