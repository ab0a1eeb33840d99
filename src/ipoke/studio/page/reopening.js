/** Reopen saved files and links: find the session in a file, and restore it. */

import * as api from "./api.js";
import { rebuildChain } from "./chain.js";
import { sampleNow } from "./clips.js";
import { loadPicture, usePicture } from "./pictures.js";
import { readSession } from "./session.js";
import { change, state } from "./state.js";

const MARK = new TextEncoder().encode("ipoke-studio");
const PART = 4_000_000;
const REFUSED = [400, 413, 415, 422];

/** Whether a file contains the marker of a session. */
async function holdsMark(file) {
  for (let at = 0; at < file.size; at += PART) {
    const bytes = new Uint8Array(await file.slice(at, at + PART + MARK.length - 1).arrayBuffer());
    for (let found = bytes.indexOf(MARK[0]); found >= 0; found = bytes.indexOf(MARK[0], found + 1)) {
      if (MARK.every((byte, index) => bytes[found + index] === byte)) return true;
    }
  }
  return false;
}

/** Reopen a saved file; false where it contains no session and may be a plain picture or video. */
export async function reopenFile(file) {
  const onlySession = /\.(zip|json)$/i.test(file.name);
  if (!onlySession && !(await holdsMark(file))) return false;
  let reply;
  try {
    reply = await api.reopen(file);
  } catch (error) {
    if (!onlySession && REFUSED.includes(error.status)) return false;
    throw error;
  }
  const what = reply.same_model ? "Opened" : "Opened; the session is of another model, so the samples differ";
  await openQuestion(reply.question, reply.history, { name: file.name || "reopened", what, start: reply.start });
  return true;
}

/** Sample the question of a file or a link; then restore its chain. */
export async function openQuestion(question, history, { name, what, start = null }) {
  const { steps, step, locked, ...asked } = readSession(question, history);
  const picture = await loadPicture(question.picture, name);
  const chained = start && steps.length ? { chain: steps.map((one, index) => ({ ...one, picture: index === step ? picture : null })), step } : {};
  change({ locked });
  usePicture(picture, { ...asked, ...chained });
  await sampleNow(what);
  if (chained.chain === state.chain) await rebuildChain(start.picture);
}
