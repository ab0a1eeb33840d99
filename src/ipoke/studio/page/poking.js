/** What a hand or keys do to pokes: pull, move, pin, select, remove. */

import { isPin } from "./arrows.js";
import { changeABit } from "./burst.js";
import { redraw as redrawChance } from "./chance.js";
import { sampleNow, stopAsking } from "./clips.js";
import { dropPreviews, wantPreview } from "./preview.js";
import { freshSeed } from "./residuals.js";
import { change, commit, restore, snapshot, state } from "./state.js";
import { say, sayProblem } from "./words.js";

/** The longest pull, px. */
export const longestPull = () => Math.min(state.picture.width, state.picture.height) / 3;

const inside = (value, size) => Math.min(size - 1, Math.max(0, Math.round(value)));
const withPoke = (index, poke) => state.pokes.map((old, place) => (place === index ? poke : old));

/** Begin a new pull at a place; false where no more pokes fit. */
export function beginNew(x, y, by) {
  const most = state.about?.limits.pokes ?? Infinity;
  if (state.pokes.length >= most) {
    sayProblem(`${most} pokes are the most; delete one first.`);
    return false;
  }
  const before = snapshot();
  if (!state.locked) redrawChance(freshSeed());
  const poke = { x: inside(x, state.picture.width), y: inside(y, state.picture.height), dx: 0, dy: 0 };
  change({ pokes: [...state.pokes, poke], selected: state.pokes.length });
  change({ pull: { index: state.pokes.length - 1, part: "head", fresh: true, moved: false, by, before, hand: null, grab: { x: 0, y: 0 } } });
  return true;
}

/** Take hold of a poke's dot or head. */
export function beginMove(index, part, x, y, by) {
  const before = snapshot();
  const poke = state.pokes[index];
  const held = part === "head" ? { x: poke.x + poke.dx, y: poke.y + poke.dy } : poke;
  change({ selected: index, pull: { index, part, fresh: false, moved: false, by, before, hand: null, grab: { x: held.x - x, y: held.y - y } } });
}

/** Pull what is held to a place. */
export function pullTo(x, y) {
  const { pull } = state;
  if (!pull.moved) stopAsking();
  const at = { x: x + pull.grab.x, y: y + pull.grab.y };
  const old = state.pokes[pull.index];
  const poke = pull.part === "head" ? pulled(old, at) : moved(old, at);
  const hand = pull.part === "head" && Math.hypot(at.x - old.x, at.y - old.y) > longestPull() ? at : null;
  change({ pokes: withPoke(pull.index, poke), pull: { ...pull, moved: true, hand } });
  if (!isPin(poke) || pull.part === "tail") wantPreview();
}

function pulled(poke, at) {
  const [dx, dy] = [at.x - poke.x, at.y - poke.y];
  const longest = longestPull();
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
  const within = (value, pull, size) => Math.min(size - 1 - Math.max(0, pull), Math.max(-Math.min(0, pull), Math.round(value)));
  return { ...poke, x: within(at.x, poke.dx, width), y: within(at.y, poke.dy, height) };
}

/** Let go: the pull becomes a poke, a click a pin, and the clips are asked for. */
export function endPull() {
  const { pull } = state;
  if (!pull) return;
  change({ pull: null });
  dropPreviews();
  if (!pull.fresh && !pull.moved) {
    say(`Poke ${pull.index + 1} selected.`);
    return;
  }
  commit({ pokes: state.pokes }, pull.before);
  sampleNow(described(pull.index));
}

/** Take a pull back. */
export function cancelPull() {
  if (!state.pull) return;
  const { before } = state.pull;
  dropPreviews();
  change({ pull: null, preview: null });
  restore(before);
  if (state.answer && !state.answer.done) sampleNow("Taken back");
  else say("Taken back.");
}

/** Hold a place. */
export function pinAt(x, y, by) {
  if (beginNew(x, y, by)) endPull();
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
  if (index !== null) say(`${described(index)} selected.`);
}

/** Move the selected poke a little. */
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
