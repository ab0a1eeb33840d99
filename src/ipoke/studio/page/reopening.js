/** Saved files and links coming back: finding the session in a file, and opening it. */

import * as api from "./api.js";
import { rebuildChain } from "./chain.js";
import { sampleNow } from "./clips.js";
import { loadPicture, usePicture } from "./pictures.js";
import { readSession } from "./session.js";
import { change, state } from "./state.js";

const MARK = new TextEncoder().encode("ipoke-studio");
const PART = 4_000_000;
const REFUSED = [400, 413, 415, 422];

/** Whether the bytes of a file hold the mark of a session. */
async function holdsMark(file) {
  for (let at = 0; at < file.size; at += PART) {
    const bytes = new Uint8Array(await file.slice(at, at + PART + MARK.length - 1).arrayBuffer());
    for (let found = bytes.indexOf(MARK[0]); found >= 0; found = bytes.indexOf(MARK[0], found + 1)) {
      if (MARK.every((byte, index) => bytes[found + index] === byte)) return true;
    }
  }
  return false;
}

/** Reopen a file that was saved here; false where it holds no session and may be a plain picture or video. */
export async function reopenFile(file) {
  const onlySession = /\.(zip|json)$/i.test(file.name);
  if (!onlySession && !(await holdsMark(file))) return false;
  let said;
  try {
    said = await api.reopen(file);
  } catch (error) {
    if (!onlySession && REFUSED.includes(error.status)) return false;
    throw error;
  }
  const what = said.same_model ? "Opened" : "Opened; another model drew it, so the samples differ";
  await openQuestion(said.question, said.history, { name: file.name || "reopened", what, start: said.start });
  return true;
}

/** Show what a question asks, as a file or a link holds it; then bring the chain back that led to it. */
export async function openQuestion(question, history, { name, what, start = null }) {
  const { steps, step, locked, ...asked } = readSession(question, history);
  const picture = await loadPicture(question.picture, name);
  const chained = start && steps.length ? { chain: steps.map((one, index) => ({ ...one, picture: index === step ? picture : null })), step } : {};
  change({ locked });
  usePicture(picture, { ...asked, ...chained });
  await sampleNow(what);
  if (chained.chain === state.chain) await rebuildChain(start.picture);
}
