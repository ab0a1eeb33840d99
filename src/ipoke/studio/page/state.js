/** The state of the page, with undo; listeners are told which names changed. */

export const state = {
  /** The reply of /api/about. */
  about: null,
  /** {picture, name, width, height, bundled, image, file}: image is drawable, file is sent again where the server has deleted the picture. */
  picture: null,
  pokes: [],
  /** Index of the selected poke, or null. */
  selected: null,
  seed: 0,
  locked: true,
  temperature: 1,
  count: 5,
  /** Number of frames to sample; null for the number that the model was trained on. */
  frames: null,
  guidance: true,
  /** One per sample, see residuals.js. */
  residuals: [],
  /** Residuals that stay when new ones are drawn. */
  favourites: [],
  /** The clips shown, see answer.js; null before the first. */
  answer: null,
  /** Index of the selected sample. */
  chosen: 0,
  /** Whether a request for clips is running. */
  waiting: false,
  /** {image, reached}: the last frame, during a drag. */
  preview: null,
  /** The current drag, see poking.js. */
  drag: null,
  /** The pointer, and the keyboard cursor; picture px or null. */
  hover: null,
  cursor: null,
  overlays: { correlation: false, spread: false, motion: false, arrows: true },
  /** Steps of the chain, see chain.js; the current one is chain[step]. */
  chain: [],
  step: 0,
  /** Which step of a reopened chain is being restored, in words. */
  rebuilding: "",
  /** {pokes, value} of the answers about this picture. */
  ambiguities: [],
};

const UNDONE = [
  "picture", "pokes", "selected", "seed", "residuals", "count", "temperature", "frames", "guidance", "favourites", "chain", "step",
];
const LONGEST_PAST = 200;
const listeners = new Set();
const past = [];
const future = [];
/** The state before the current burst, or null. */
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

/** Tell listeners that the named values changed inside. */
export function tell(names) {
  const changed = new Set(names);
  for (const listener of listeners) listener(changed);
}

/** The part of the state that undo restores. */
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

/** Restore a snapshot without a step of undo. */
export const restore = (before) => change(before);

export const canUndo = () => past.length > 0;
export const canRedo = () => future.length > 0;

/** Undo the last change; false where there is none. */
export const undo = () => travel(past, future);

/** Redo an undone change; false where there is none. */
export const redo = () => travel(future, past);

function travel(from, to) {
  endBurst();
  if (!from.length) return false;
  to.push(snapshot());
  change(from.pop());
  tell(["history"]);
  return true;
}
