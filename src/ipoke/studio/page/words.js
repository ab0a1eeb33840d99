/** What the page says: a quiet line of what happened, and a line for what went wrong. */

import { byId } from "./dom.js";

let again = null;

/** Say what happened. */
export function say(words) {
  byId("status").textContent = words;
}

/** Say what went wrong, with a way to try again where there is one. */
export function sayProblem(words, retry = null) {
  again = retry;
  byId("problem-text").textContent = words;
  byId("problem-retry").hidden = !retry;
  byId("problem").hidden = false;
}

/** Take the line of what went wrong away. */
export function clearProblem() {
  again = null;
  byId("problem").hidden = true;
}

/** Whether that line is there. */
export const hasProblem = () => !byId("problem").hidden;

/** Take the line away, and try again where there is a way. */
export function retryProblem() {
  const retry = again;
  clearProblem();
  retry?.();
}

/** Make the line's buttons work. */
export function startWords() {
  byId("problem-dismiss").addEventListener("click", clearProblem);
  byId("problem-retry").addEventListener("click", retryProblem);
}

/** "1 sample", "5 samples". */
export const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
