/** Show errors of calls; where the server is down, wait until it is back, then try again. */

import * as api from "./api.js";
import { hasProblem, retryProblem, showProblem, showStatus } from "./messages.js";

const DOWN = [0, 503];
const PAUSE = 1000;

let waiting = false;

/** Show the error of a call; `retry` is offered as a button. */
export function showError(error, retry = null) {
  showProblem(error.message, retry);
  if (DOWN.includes(error.status) && !waiting) untilBack();
}

/** Wait for the server, then retry; a server that responds at once was not down, so a retry would not help. */
async function untilBack() {
  let wasDown = false;
  waiting = true;
  while (hasProblem() && !(await answers())) {
    wasDown = true;
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  waiting = false;
  if (!wasDown || !hasProblem()) return;
  showStatus("The server is back.");
  retryProblem();
}

async function answers() {
  try {
    await api.about();
    return true;
  } catch (error) {
    return !DOWN.includes(error.status);
  }
}
