/** Keyboard control of the picture and of playback, and the dialog that lists the shortcuts. */

import { isPin } from "./arrows.js";
import { settleBurst } from "./burst.js";
import { byId, make } from "./dom.js";
import { showStatus } from "./messages.js";
import { frameNow, showFrame, toggle } from "./player.js";
import { beginMove, beginNew, cancelDrag, dragTo, endDrag, nudgeSelected, pinAt, removePoke, selectPoke } from "./poking.js";
import { change, state } from "./state.js";

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const FAR = 10;
const LIST = [
  ["Arrow keys", "move the cursor, the end of a drag or the selected poke; with Shift by 10 px"],
  ["Enter", "start a drag at the cursor, or end it; with a poke selected, drag its target"],
  ["P", "pin the point at the cursor"],
  ["Tab  [  ]", "select a poke"],
  ["Delete", "delete the selected poke"],
  ["Escape", "cancel the drag, or deselect the poke"],
  ["Ctrl+Z  Ctrl+Shift+Z  Ctrl+Y", "undo, redo"],
  ["Space", "play or pause"],
  [",  .", "previous or next frame"],
  ["1 to 9", "select a sample"],
  ["R", "new seed"],
  ["?", "show this list"],
];

const cursor = () => state.cursor ?? { x: Math.round(state.picture.width / 2), y: Math.round(state.picture.height / 2) };

function moveCursor(dx, dy) {
  const { width, height } = state.picture;
  const from = cursor();
  const to = { x: Math.min(width - 1, Math.max(0, from.x + dx)), y: Math.min(height - 1, Math.max(0, from.y + dy)) };
  change({ cursor: to, hover: to });
  showStatus(`${to.x},${to.y}`);
}

function step(event) {
  const [dx, dy] = STEPS[event.key].map((part) => part * (event.shiftKey ? FAR : 1));
  if (state.drag) {
    const poke = state.pokes[state.drag.index];
    dragTo(poke.x + poke.dx + dx, poke.y + poke.dy + dy);
    const now = state.pokes[state.drag.index];
    showStatus(`by ${now.dx},${now.dy}${state.drag.pointer ? "; maximum length" : ""}`);
  } else if (state.selected !== null) nudgeSelected(dx, dy);
  else moveCursor(dx, dy);
}

function enter() {
  settleBurst();
  if (state.drag) {
    const { index } = state.drag;
    endDrag();
    change({ selected: null, cursor: state.pokes[index] ? { x: state.pokes[index].x, y: state.pokes[index].y } : state.cursor });
  } else if (state.selected !== null && !isPin(state.pokes[state.selected])) {
    const poke = state.pokes[state.selected];
    beginMove(state.selected, "head", poke.x + poke.dx, poke.y + poke.dy, "keys");
    showStatus("Drag with the arrow keys; press Enter to finish.");
  } else {
    const at = cursor();
    if (beginNew(at.x, at.y, "keys")) showStatus(`Drag from ${at.x},${at.y} with the arrow keys; press Enter to finish.`);
  }
}

function pin() {
  if (state.drag) return;
  const at = cursor();
  pinAt(at.x, at.y, "keys");
  change({ selected: null, cursor: at });
}

/** Select the next poke; false past the end of the list. */
function selectNext(by, wrap) {
  settleBurst();
  const { length } = state.pokes;
  if (!length) return false;
  let next = state.selected === null ? (by > 0 ? 0 : length - 1) : state.selected + by;
  if (next < 0 || next >= length) {
    if (!wrap) {
      change({ selected: null });
      return false;
    }
    next = (next + length) % length;
  }
  selectPoke(next);
  return true;
}

function remove() {
  if (state.drag) cancelDrag();
  else if (state.selected !== null) removePoke(state.selected);
}

function escape() {
  if (state.drag) cancelDrag();
  else if (state.selected !== null) {
    settleBurst();
    change({ selected: null });
    showStatus("No poke selected.");
  }
}

/** Handle a key on the picture; returns whether it had a meaning. */
function onPicture(event) {
  if (!state.picture || event.ctrlKey || event.metaKey || event.altKey) return false;
  if (event.key in STEPS) step(event);
  else if (event.key === "Enter") enter();
  else if (event.key === "p" || event.key === "P") pin();
  else if (event.key === "Tab" && !state.drag) return selectNext(event.shiftKey ? -1 : 1, false);
  else if (event.key === "Delete" || event.key === "Backspace") remove();
  else if (event.key === "Escape") escape();
  else return false;
  return true;
}

function anywhere(event, { undo, redo, newSeed, choose }) {
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key === "z") (event.shiftKey ? redo : undo)();
    else if (key === "y") redo();
    else return false;
    return true;
  }
  if (event.altKey) return false;
  if (key === " " && !event.target.closest("button, summary")) toggle();
  else if (key === ",") showFrame(frameNow() - 1);
  else if (key === ".") showFrame(frameNow() + 1);
  else if (key === "[") selectNext(-1, true);
  else if (key === "]") selectNext(1, true);
  else if (key === "r") newSeed();
  else if (key === "?") byId("keys-dialog").showModal();
  else if (/^[1-9]$/.test(key)) choose(Number(key) - 1);
  else return false;
  return true;
}

/** Listen to keys; `actions` are the functions of other modules. */
export function startKeys(actions) {
  for (const [keys, words] of LIST) {
    const each = keys.split("  ").map((key) => make("kbd", {}, key));
    byId("keys-list").append(make("dt", {}, ...each), make("dd", {}, words));
  }
  byId("keys").addEventListener("click", () => byId("keys-dialog").showModal());
  byId("picture").addEventListener("keydown", (event) => {
    if (onPicture(event)) event.preventDefault();
  });
  byId("picture").addEventListener("focus", (event) => {
    if (state.picture && !state.cursor && event.target.matches(":focus-visible")) change({ cursor: cursor() });
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=range], [type=checkbox]), select, textarea, dialog");
    if (!event.defaultPrevented && !typing && anywhere(event, actions)) event.preventDefault();
  });
}
