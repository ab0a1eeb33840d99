/** What the page knows, with undo, and a plain way to hear of changes. */

export const state = {
  /** What /api/about said. */
  about: null,
  /** {picture, name, width, height, bundled, image, file}: image is drawable, file is what to send again. */
  picture: null,
  pokes: [],
  /** Index of the selected poke, or null. */
  selected: null,
  seed: 0,
  locked: true,
  temperature: 1,
  count: 5,
  /** How many frames to ask for; null for as many as the model has learned. */
  frames: null,
  reaches: true,
  /** One per sample, see residuals.js. */
  residuals: [],
  /** Residuals that stay when new ones are drawn. */
  favourites: [],
  /** The clips shown, see answer.js; null before the first. */
  answer: null,
  /** Index of the sample shown big. */
  chosen: 0,
  /** Whether clips are on their way. */
  waiting: false,
  /** {image, reached}: the last frame while a hand pulls. */
  preview: null,
  /** The pull under way, see poking.js. */
  pull: null,
  /** Where the pointer rests, and the cross that keys move; picture px or null. */
  hover: null,
  cursor: null,
  overlays: { affinity: false, spread: false, motion: false, arrows: true },
  /** Steps of the chain, see chain.js; the step in hand is chain[step]. */
  chain: [],
  step: 0,
  /** Which step of a reopened chain is being made again, in words. */
  rebuilding: "",
  /** {pokes, value} of each answer about this picture. */
  ambiguities: [],
};

const UNDONE = [
  "picture", "pokes", "selected", "seed", "residuals", "count", "temperature", "frames", "reaches", "favourites", "chain", "step",
];
const LONGEST_PAST = 200;
const listeners = new Set();
const past = [];
const future = [];
/** What undo brings back of the burst under way, or null. */
let burst = null;

/** Call a function with the set of changed names after every change. */
export function subscribe(listener) {
  listeners.add(listener);
}

/** Change some of the state. */
export function change(patch) {
  Object.assign(state, patch);
  tell(Object.keys(patch));
}

/** Say that something changed inside of the named values. */
export function tell(names) {
  const changed = new Set(names);
  for (const listener of listeners) listener(changed);
}

/** What undo brings back. */
export function snapshot() {
  return Object.fromEntries(UNDONE.map((name) => [name, state[name]]));
}

/** Change the state so that undo goes back to before, or to a snapshot taken earlier. */
export function commit(patch, before = snapshot()) {
  endBurst();
  remember(before);
  change(patch);
}

/** Change the state as part of a burst of changes, which are undone together. */
export function changeInBurst(patch) {
  burst ??= snapshot();
  change(patch);
}

/** End a burst; false where there is none. */
export function endBurst() {
  if (!burst) return false;
  remember(burst);
  burst = null;
  return true;
}

function remember(before) {
  past.push(before);
  if (past.length > LONGEST_PAST) past.shift();
  future.length = 0;
  tell(["history"]);
}

/** Go back to a snapshot without a trace. */
export const restore = (before) => change(before);

export const canUndo = () => past.length > 0;
export const canRedo = () => future.length > 0;

/** Take the last change back; false where there is none. */
export const undo = () => travel(past, future);

/** Make an undone change again; false where there is none. */
export const redo = () => travel(future, past);

function travel(from, to) {
  endBurst();
  if (!from.length) return false;
  to.push(snapshot());
  change(from.pop());
  tell(["history"]);
  return true;
}
