/** The status line, and the line for errors. */

import { byId } from "./dom.js";

let again = null;

/** Set the status line. */
export function showStatus(words) {
  byId("status").textContent = words;
}

/** Show an error; `retry` is offered as a button. */
export function showProblem(words, retry = null) {
  again = retry;
  byId("problem-text").textContent = words;
  byId("problem-retry").hidden = !retry;
  byId("problem").hidden = false;
}

/** Hide the error. */
export function clearProblem() {
  again = null;
  byId("problem").hidden = true;
}

/** Whether an error is shown. */
export const hasProblem = () => !byId("problem").hidden;

/** Hide the error, and retry if possible. */
export function retryProblem() {
  const retry = again;
  clearProblem();
  retry?.();
}

/** Make the error's buttons work. */
export function startMessages() {
  byId("problem-dismiss").addEventListener("click", clearProblem);
  byId("problem-retry").addEventListener("click", retryProblem);
}

/** "1 sample", "5 samples". */
export const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
