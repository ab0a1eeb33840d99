/** Request clips, and show them as they arrive. */

import { closeFrames, emptyAnswer, emptySample, fillAnswer, fillSample, reachedWords, redrawnWords, takeFrame } from "./answer.js";
import * as api from "./api.js";
import { allArrived, clipBegins, release, settled } from "./latency.js";
import { clearProblem, counted, showStatus } from "./messages.js";
import { showError } from "./outage.js";
import { startClip } from "./player.js";
import { hasQuestion, questionOf, questionShown, residualsWanted, withPicture } from "./question.js";
import { change, state, tell } from "./state.js";

const REST = 450;
const MOST_AMBIGUITIES = 24;

let request = null;
let resting = null;

/** Request clips of the current pokes; `what` begins the status text of the answer. */
export async function sampleNow(what = "") {
  if (!hasQuestion()) {
    clearClips();
    showStatus(what ? `${what}.` : "No pokes.");
    return;
  }
  await takeClips({
    question: questionOf(residualsWanted()),
    ask: api.clips,
    finish: ({ samples }) => {
      const words = [what, counted(samples.length, "sample"), reachedWords(samples), redrawnWords(samples)];
      showStatus(`${words.filter(Boolean).join("; ")}.`);
    },
    retry: () => sampleNow(what),
  });
}

/** Request one more clip, of an interpolated residual; it replaces the previous interpolation. */
export async function sampleMix(residual, words) {
  const base = state.answer;
  const mine = begin();
  try {
    const sample = { ...emptySample(residual), mixed: words };
    for await (const line of linesOf(api.clips, questionShown([residual]), mine.signal)) {
      if (mine.signal.aborted || state.answer !== base) return;
      if (line.kind === "begin") placeMix(base, sample);
      else if (line.kind === "frame") await takeFrame(sample, line, base);
      else if (line.kind === "end") fillSample(sample, line.samples[0]);
      tell(["answer"]);
    }
    showStatus(`${[words, reachedWords([sample]), redrawnWords([sample])].filter(Boolean).join("; ")}.`);
  } catch (error) {
    if (!mine.signal.aborted) showError(error, () => sampleMix(residual, words));
  } finally {
    end(mine);
  }
}

function placeMix(answer, sample) {
  const old = answer.samples.findIndex((other) => other.mixed);
  if (old >= 0) closeFrames(answer.samples.splice(old, 1));
  answer.samples.push(sample);
  change({ answer, chosen: answer.samples.length - 1 });
  dropPreview();
  startClip();
}

/**
 * Request and show the clips of a question. `ask` streams the lines, `finish` is called with the whole answer and its last
 * line, `retry` is offered after an error.
 */
export async function takeClips({ question, ask, finish, retry }) {
  const mine = begin();
  let answer = null;
  try {
    for await (const line of linesOf(ask, question, mine.signal)) {
      if (mine.signal.aborted) return;
      if (line.kind === "begin") answer = showEmpty(line, question);
      else if (line.kind === "frame") {
        const sample = answer.samples[line.sample];
        const isFirst = line.frame === 1 && line.sample === state.chosen && !sample.frames[1];
        await takeFrame(sample, line, answer);
        if (mine.signal.aborted) return;
        if (isFirst) showFirst();
        tell(["frames"]);
      } else if (line.kind === "end") {
        fillAnswer(answer, line);
        allArrived(answer.samples.length);
        finish(answer, line);
        noteAmbiguity(answer);
        tell(["answer"]);
      }
    }
    clearProblem();
  } catch (error) {
    if (mine.signal.aborted) return;
    showError(error, retry);
    dropPreview();
  } finally {
    end(mine);
  }
}

async function* linesOf(ask, question, signal) {
  yield* await withPicture(question, async (asked) => {
    const lines = ask(asked, signal);
    const first = await lines.next();
    return (async function* () {
      if (first.done) return;
      yield first.value;
      yield* lines;
    })();
  });
}

function showEmpty(line, question) {
  const old = state.answer;
  const answer = emptyAnswer(line, question);
  change({ answer, chosen: Math.min(state.chosen, answer.samples.length - 1) });
  if (old) closeFrames(old.samples);
  return answer;
}

function showFirst() {
  dropPreview();
  clipBegins();
  startClip();
}

function noteAmbiguity({ question, samples, ambiguity, transfer }) {
  if (ambiguity === null || transfer || samples.length < 2) return;
  change({ ambiguities: [...state.ambiguities, { pokes: question.pokes.length, value: ambiguity }].slice(-MOST_AMBIGUITIES) });
}

/** Call a function after a short pause; a further call starts the pause anew. */
export function askSoon(what) {
  clearTimeout(resting);
  resting = setTimeout(what, REST);
}

/** Cancel running requests for clips. */
export function stopAsking() {
  clearTimeout(resting);
  request?.abort();
  request = null;
  if (!state.waiting) return;
  settled();
  change({ waiting: false });
}

/** Remove the clips. */
export function clearClips() {
  stopAsking();
  dropPreview();
  const old = state.answer;
  change({ answer: null, chosen: 0 });
  if (old) closeFrames(old.samples);
}

function dropPreview() {
  if (!state.preview) return;
  const { image } = state.preview;
  change({ preview: null });
  image.close();
}

function begin() {
  stopAsking();
  release();
  request = new AbortController();
  change({ waiting: true });
  return request;
}

function end(mine) {
  if (request !== mine) return;
  request = null;
  settled();
  change({ waiting: false });
}
