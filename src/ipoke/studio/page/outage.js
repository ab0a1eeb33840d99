/** Errors of calls in words; where the server is gone, waiting until it is back and then going on. */

import * as api from "./api.js";
import { hasProblem, retryProblem, say, sayProblem } from "./words.js";

const GONE = [0, 503];
const PAUSE = 1000;

let waiting = false;

/** Say what went wrong with a call, with a way to try again where there is one. */
export function sayError(error, retry = null) {
  sayProblem(error.message, retry);
  if (GONE.includes(error.status) && !waiting) untilBack();
}

/** A server that answers at once was not gone: then trying again by itself would not help. */
async function untilBack() {
  let wasGone = false;
  waiting = true;
  while (hasProblem() && !(await answers())) {
    wasGone = true;
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  waiting = false;
  if (!wasGone || !hasProblem()) return;
  say("The server is back.");
  retryProblem();
}

async function answers() {
  try {
    await api.about();
    return true;
  } catch (error) {
    return !GONE.includes(error.status);
  }
}
