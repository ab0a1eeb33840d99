/** What clips are made of as they come: an answer with its samples, filled line by line. */

import * as api from "./api.js";

const WIDEST_FRAME = 768;

/**
 * An answer before its frames: {question, samples, frames, width, height, done, side, motionUnit, spread, ambiguity, transfer};
 * transfer is {roundTrip, poke} where a video's motion moves the picture.
 */
export function emptyAnswer(begin, question) {
  return {
    question,
    samples: Array.from({ length: begin.samples }, (_, index) => emptySample(question.residuals[index] ?? null)),
    frames: begin.frames, width: begin.width, height: begin.height,
    done: false, side: 0, motionUnit: 0, spread: null, ambiguity: null, transfer: null,
  };
}

/** A sample before its frames; frames are drawables by number from 1, mixed is words where it lies between two others. */
export const emptySample = (residual) => ({ residual, frames: [], bits: null, rank: null, draws: 1, reached: [], motion: null, mixed: null });

/** Take a line of a frame in; it takes the place of a sketch of it. */
export async function takeFrame(sample, line, answer) {
  const file = new Blob([api.bytesOf(line.jpeg)], { type: "image/jpeg" });
  const shrink = answer.width > WIDEST_FRAME ? { resizeWidth: WIDEST_FRAME, resizeQuality: "high" } : {};
  const frame = await createImageBitmap(file, shrink);
  sample.frames[line.frame]?.close();
  sample.frames[line.frame] = frame;
}

/** Take in what is said of one sample in the end. */
export function fillSample(sample, said) {
  sample.bits = said.bits_per_dim;
  sample.rank = said.rank;
  sample.draws = said.draws;
  sample.reached = said.reached ?? [];
  sample.motion = said.motion ? new Int8Array(api.bytesOf(said.motion).buffer) : null;
}

/** Take the last line in. */
export function fillAnswer(answer, line) {
  line.samples.forEach((said, index) => fillSample(answer.samples[index], said));
  answer.side = line.side;
  answer.motionUnit = line.motion_unit;
  answer.spread = line.spread ? api.bytesOf(line.spread) : null;
  answer.ambiguity = line.ambiguity;
  answer.done = true;
}

/** How near samples come to what was asked, in words. */
export function reachedWords(samples) {
  const errors = samples.flatMap((sample) => sample.reached.map((point) => point.error));
  return errors.length ? `reached to ${Math.max(...errors).toFixed(1)} px` : "";
}

/** Which samples had to be drawn again, in words. */
export function redrawnWords(samples) {
  const again = samples.flatMap((sample, index) => (sample.draws > 1 ? [index + 1] : []));
  return again.length ? `drawn again, for being too far off: ${again.join(", ")}` : "";
}

/** Free the memory of frames. */
export function closeFrames(samples) {
  for (const sample of samples) for (const frame of sample.frames) frame?.close();
}
