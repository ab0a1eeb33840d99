/** The answer to a question: its samples and frames, filled in line by line as the server sends them. */

import * as api from "./api.js";

const WIDEST_FRAME = 768;

/**
 * An empty answer: {question, samples, frames, width, height, done, side, motionUnit, spread, ambiguity, transfer};
 * transfer is {roundTrip, poke} for a motion transfer.
 */
export function emptyAnswer(begin, question) {
  return {
    question,
    samples: Array.from({ length: begin.samples }, (_, index) => emptySample(question.residuals[index] ?? null)),
    frames: begin.frames, width: begin.width, height: begin.height,
    done: false, side: 0, motionUnit: 0, spread: null, ambiguity: null, transfer: null,
  };
}

/** An empty sample; frames are drawables by number from 1; mixed describes an interpolated sample in words. */
export const emptySample = (residual) => ({ residual, frames: [], bits: null, rank: null, draws: 1, reached: [], motion: null, mixed: null });

/** Store a frame; the final frame replaces its draft. */
export async function takeFrame(sample, line, answer) {
  const file = new Blob([api.bytesOf(line.jpeg)], { type: "image/jpeg" });
  const shrink = answer.width > WIDEST_FRAME ? { resizeWidth: WIDEST_FRAME, resizeQuality: "high" } : {};
  const frame = await createImageBitmap(file, shrink);
  sample.frames[line.frame]?.close();
  sample.frames[line.frame] = frame;
}

/** Store the statistics of a finished sample. */
export function fillSample(sample, reply) {
  sample.bits = reply.bits_per_dim;
  sample.rank = reply.rank;
  sample.draws = reply.draws;
  sample.reached = reply.reached ?? [];
  sample.motion = reply.motion ? new Int8Array(api.bytesOf(reply.motion).buffer) : null;
}

/** Store the last line. */
export function fillAnswer(answer, line) {
  line.samples.forEach((reply, index) => fillSample(answer.samples[index], reply));
  answer.side = line.side;
  answer.motionUnit = line.motion_unit;
  answer.spread = line.spread ? api.bytesOf(line.spread) : null;
  answer.ambiguity = line.ambiguity;
  answer.done = true;
}

/** The largest distance between a poked point and its target, in words. */
export function reachedWords(samples) {
  const errors = samples.flatMap((sample) => sample.reached.map((point) => point.error));
  return errors.length ? `target error up to ${Math.max(...errors).toFixed(1)} px` : "";
}

/** Which samples were drawn again, in words. */
export function redrawnWords(samples) {
  const again = samples.flatMap((sample, index) => (sample.draws > 1 ? [index + 1] : []));
  return again.length ? `redrawn after a failed round trip: ${again.join(", ")}` : "";
}

/** Free the memory of frames. */
export function closeFrames(samples) {
  for (const sample of samples) for (const frame of sample.frames) frame?.close();
}
