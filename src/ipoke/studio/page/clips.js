/** Asking for clips and taking them in as they come. */

import * as api from "./api.js";
import { allArrived, clipBegins, release, settled } from "./latency.js";
import { startClip } from "./player.js";
import { questionOf, residualsWanted, withPicture } from "./question.js";
import { change, state, tell } from "./state.js";
import { clearProblem, counted, say, sayProblem } from "./words.js";

const WIDEST_FRAME = 768;
const REST = 450;

let request = null;
let resting = null;

/**
 * An answer: {samples, frames, width, height, pokes, done, side, motionUnit, spread, ambiguity, transfer}; a sample:
 * {residual, frames: drawables by number from 1, bits, rank, reached, motion, mixed}.
 */
function emptyAnswer(begin, residuals, pokes) {
  const samples = Array.from({ length: begin.samples }, (_, index) => emptySample(residuals?.[index] ?? null));
  return {
    samples, pokes, frames: begin.frames, width: begin.width, height: begin.height,
    done: false, side: 0, motionUnit: 0, spread: null, ambiguity: null, transfer: null,
  };
}

const emptySample = (residual) => ({ residual, frames: [], bits: null, rank: null, reached: [], motion: null, mixed: null });

/** Ask for the clips of the pokes in hand; what happened is said with the answer. */
export async function sampleNow(what = "") {
  stopAsking();
  if (!state.pokes.length) {
    clearClips();
    say(what ? `${what}.` : "No pokes.");
    return;
  }
  release();
  const residuals = residualsWanted();
  const pokes = state.pokes;
  await take({
    lines: (signal) => withLines((question) => api.clips(question, signal), questionOf(residuals)),
    residuals,
    pokes,
    told: (answer) => say([what, counted(answer.samples.length, "sample"), reachedWords(answer)].filter(Boolean).join("; ") + "."),
    retry: () => sampleNow(what),
  });
}

/** Ask for one more clip, of a residual between two samples; it takes the place of the mix before. */
export async function sampleMix(residual, words) {
  const base = state.answer;
  const question = questionOf([residual]);
  stopAsking();
  release();
  const mine = begin();
  try {
    const sample = { ...emptySample(residual), mixed: words };
    for await (const line of withLines((asked) => api.clips(asked, mine.signal), question)) {
      if (mine.signal.aborted || state.answer !== base) return;
      if (line.kind === "begin") placeMix(base, sample);
      else if (line.kind === "frame") await takeFrame(sample, line, base);
      else if (line.kind === "end") fill(sample, line.samples[0]);
      tell(["answer"]);
    }
    say(`${words}; ${reachedWords({ ...base, samples: [sample] })}.`);
  } catch (error) {
    if (!mine.signal.aborted) sayProblem(error.message, () => sampleMix(residual, words));
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

/** Move the picture with the motion of a video. */
export async function transferNow(file) {
  stopAsking();
  release();
  const picture = { picture: state.picture.picture, pokes: [] };
  say(`Reading the motion of ${file.name || "the video"}…`);
  await take({
    lines: (signal) => withLines((question) => api.transfer(question.picture, file, signal), picture),
    residuals: null,
    pokes: [],
    told: (answer) => say(`The motion of ${file.name || "the video"} moves the picture; ${transferWords(answer.transfer)}.`),
    retry: () => transferNow(file),
  });
}

/** What is known of a transfer, in words. */
export function transferWords({ roundTrip, poke }) {
  const [x, y, dx, dy] = poke ? [poke.x, poke.y, poke.dx, poke.dy].map(Math.round) : [];
  const pull = poke ? `its strongest motion goes from ${x},${y} by ${dx},${dy}` : "nothing moves much in it";
  return `${pull}; round trip to ${roundTrip.toExponential(1)}`;
}

async function* withLines(ask, question) {
  yield* await withPicture(question, async (asked) => {
    const lines = ask(asked);
    const first = await lines.next();
    return (async function* () {
      if (first.done) return;
      yield first.value;
      yield* lines;
    })();
  });
}

async function take({ lines, residuals, pokes, told, retry }) {
  const mine = begin();
  let answer = null;
  try {
    for await (const line of lines(mine.signal)) {
      if (mine.signal.aborted) return;
      if (line.kind === "begin") {
        const old = state.answer;
        answer = emptyAnswer(line, residuals, pokes);
        change({ answer, chosen: Math.min(state.chosen, answer.samples.length - 1) });
        if (old) closeFrames(old.samples);
      } else if (line.kind === "frame") {
        await takeFrame(answer.samples[line.sample], line, answer);
        if (mine.signal.aborted) return;
        if (line.frame === 1 && line.sample === state.chosen) {
          dropPreview();
          clipBegins();
          startClip();
        }
        tell(["frames"]);
      } else if (line.kind === "end") {
        finish(answer, line);
        told(answer);
      }
    }
    clearProblem();
  } catch (error) {
    if (mine.signal.aborted) return;
    sayProblem(error.message, retry);
    dropPreview();
  } finally {
    end(mine);
  }
}

async function takeFrame(sample, line, answer) {
  const file = new Blob([api.bytesOf(line.jpeg)], { type: "image/jpeg" });
  const shrink = answer.width > WIDEST_FRAME ? { resizeWidth: WIDEST_FRAME, resizeQuality: "high" } : {};
  sample.frames[line.frame] = await createImageBitmap(file, shrink);
}

function fill(sample, said) {
  sample.bits = said.bits_per_dim;
  sample.rank = said.rank;
  sample.reached = said.reached ?? [];
  sample.motion = said.motion ? new Int8Array(api.bytesOf(said.motion).buffer) : null;
}

function finish(answer, line) {
  line.samples.forEach((said, index) => fill(answer.samples[index], said));
  answer.side = line.side;
  answer.motionUnit = line.motion_unit;
  answer.spread = line.spread ? api.bytesOf(line.spread) : null;
  answer.ambiguity = line.ambiguity;
  if ("round_trip" in line) answer.transfer = { roundTrip: line.round_trip, poke: line.poke };
  answer.done = true;
  allArrived(answer.samples.length);
  const measured = answer.ambiguity !== null && !answer.transfer && answer.samples.length > 1;
  if (measured) change({ ambiguities: [...state.ambiguities, { pokes: answer.pokes.length, value: answer.ambiguity }].slice(-24) });
  tell(["answer"]);
}

/** How near the samples come to what was asked, in words. */
function reachedWords(answer) {
  const errors = answer.samples.flatMap((sample) => sample.reached.map((point) => point.error));
  return errors.length ? `reached to ${Math.max(...errors).toFixed(1)} px` : "";
}

/** Call a function once nothing has asked for it for a moment. */
export function askSoon(what) {
  clearTimeout(resting);
  resting = setTimeout(what, REST);
}

/** Take running requests for clips back. */
export function stopAsking() {
  clearTimeout(resting);
  request?.abort();
  request = null;
  if (!state.waiting) return;
  settled();
  change({ waiting: false });
}

/** Show no clips. */
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
  const mine = new AbortController();
  request = mine;
  change({ waiting: true });
  return mine;
}

function end(mine) {
  if (request !== mine) return;
  request = null;
  settled();
  change({ waiting: false });
}

function closeFrames(samples) {
  for (const sample of samples) for (const frame of sample.frames) frame?.close();
}
