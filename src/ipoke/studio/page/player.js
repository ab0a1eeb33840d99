/** Playback: the frame that all samples show, looping or forward and backward, and its controls. */

import { byId, prefersReducedMotion, setIcon } from "./dom.js";
import { state, subscribe } from "./state.js";

const FRAMES_A_SECOND = 10;
const REST_FRAMES = 4;

const clock = { position: 0, direction: 1, playing: false, pingPong: false, speed: 1, last: null, follow: false };
const painters = new Set();
let booked = false;
let stale = true;
let paintedFrame = null;

/** Register a function that paints. */
export function onPaint(painter) {
  painters.add(painter);
}

/** Paint with the next screen refresh. */
export function repaint() {
  stale = true;
  book();
}

function book() {
  if (booked) return;
  booked = true;
  requestAnimationFrame(tick);
}

/** The current frame; 0 is the picture. */
export const frameNow = () => Math.min(lastFrame(), Math.max(0, Math.round(clock.position)));

/** The number of the last frame. */
export const lastFrame = () => state.answer?.frames ?? 0;

export const isPlaying = () => clock.playing;

/** Play a clip whose frames begin to arrive; with reduced motion, show its latest frame instead. */
export function startClip() {
  clock.direction = 1;
  clock.follow = prefersReducedMotion();
  if (clock.follow) clock.playing = false;
  else play(0.51);
  repaint();
}

/** Play or pause. */
export function toggle() {
  if (!state.answer) return;
  clock.follow = false;
  if (clock.playing) pause();
  else play(clock.position >= lastFrame() ? 0 : clock.position);
}

/** Stop at the current frame. */
export function pause() {
  clock.playing = false;
  clock.position = frameNow();
  repaint();
}

/** Stop and show a frame. */
export function showFrame(number) {
  clock.playing = false;
  clock.follow = false;
  clock.position = Math.min(lastFrame(), Math.max(0, number));
  repaint();
}

function play(position) {
  clock.position = position;
  clock.playing = true;
  clock.last = null;
  repaint();
}

/** The last frame of the selected sample that has arrived. */
function arrived() {
  const frames = state.answer?.samples[state.chosen]?.frames ?? [];
  return Math.max(0, frames.length - 1);
}

function advance(now) {
  const seconds = clock.last === null ? 0 : Math.min(0.25, (now - clock.last) / 1000);
  clock.last = now;
  const end = lastFrame();
  const step = seconds * FRAMES_A_SECOND * clock.speed;
  if (arrived() < end) {
    clock.position = Math.min(clock.position + step, Math.max(arrived(), clock.position));
    return;
  }
  clock.position += step * clock.direction;
  if (clock.pingPong) {
    if (clock.position >= end) [clock.position, clock.direction] = [end, -1];
    if (clock.position <= 0) [clock.position, clock.direction] = [0, 1];
  } else {
    clock.direction = 1;
    if (clock.position > end + REST_FRAMES) clock.position = 0;
  }
}

function tick(now) {
  booked = false;
  if (clock.playing && state.answer) advance(now);
  else if (clock.follow) clock.position = arrived();
  if (stale || frameNow() !== paintedFrame) {
    stale = false;
    paintedFrame = frameNow();
    for (const painter of painters) painter();
    showControls();
  }
  if (clock.playing && state.answer) book();
}

function showControls() {
  const scrub = byId("scrub");
  const number = frameNow();
  scrub.max = String(lastFrame() || 10);
  scrub.value = String(number);
  byId("frame-number").textContent = `${number} / ${scrub.max}`;
  scrub.disabled = !state.answer;
  const button = byId("play");
  button.disabled = !state.answer;
  setIcon(button, clock.playing ? "pause" : "play");
  button.setAttribute("aria-label", clock.playing ? "Pause" : "Play");
}

/** Make the controls work. */
export function startPlayer() {
  byId("play").addEventListener("click", toggle);
  byId("scrub").addEventListener("input", (event) => showFrame(Number(event.target.value)));
  byId("ping-pong").addEventListener("click", (event) => {
    clock.pingPong = !clock.pingPong;
    event.currentTarget.setAttribute("aria-pressed", String(clock.pingPong));
  });
  byId("speed").addEventListener("change", (event) => {
    clock.speed = Number(event.target.value);
  });
  subscribe((changed) => {
    if (changed.has("answer") && !state.answer) clock.playing = false;
    if ([...changed].some((name) => name !== "hover") || state.overlays.correlation) repaint();
  });
}
