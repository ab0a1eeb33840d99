/** Overlays (motion correlation, sample diversity, motion) and the ambiguity meter. */

import * as api from "./api.js";
import { drawWheel, heatMap, motionMap } from "./colours.js";
import { byId } from "./dom.js";
import { showError } from "./outage.js";
import { repaint } from "./player.js";
import { withPicture } from "./question.js";
import { change, state, subscribe } from "./state.js";

const REST = 250;
const MOST_MAPS = 200;
const FIELDS = ["correlation", "spread", "motion"];
const USUAL =
  "Standard deviation of the samples' displacement by the last frame, averaged over moving pixels. Another poke or pin usually lowers it.";

const maps = new Map();
const fields = new WeakMap();
let resting = null;
let request = null;

/** Paint the active overlay. */
export function paintOverlay(ctx, width, height) {
  const map = overlayNow();
  if (!map) return;
  ctx.save();
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(map, 0, 0, width, height);
  ctx.restore();
}

function overlayNow() {
  const { overlays, answer, chosen } = state;
  if (overlays.correlation) return maps.get(placeKey(place()));
  if (overlays.spread && answer?.spread) return field(answer, () => ({ canvas: heatMap(answer.spread, answer.side) })).canvas;
  const sample = answer?.samples[chosen];
  if (overlays.motion && sample?.motion) return motionOf(sample, answer).canvas;
  return null;
}

function field(owner, draw) {
  if (!fields.has(owner)) fields.set(owner, draw());
  return fields.get(owner);
}

const motionOf = (sample, answer) => field(sample, () => motionMap(sample.motion, answer.side));

/** The point of the motion correlation: under the pointer, else at the keyboard cursor, else the selected poke. */
function place() {
  if (state.drag) return null;
  return state.hover ?? state.cursor ?? state.pokes[state.selected] ?? null;
}

const placeKey = (at) => at && `${state.picture.picture} ${Math.round(at.x)} ${Math.round(at.y)}`;

function restThenAsk() {
  clearTimeout(resting);
  request?.abort();
  const at = place();
  if (!state.overlays.correlation || !state.picture || !at || maps.has(placeKey(at))) return;
  resting = setTimeout(() => askCorrelation(at), REST);
}

async function askCorrelation(at) {
  const mine = new AbortController();
  request = mine;
  const key = placeKey(at);
  const { width, height } = state.picture;
  const [x, y] = [Math.min(width - 1, Math.max(0, Math.round(at.x))), Math.min(height - 1, Math.max(0, Math.round(at.y)))];
  try {
    const reply = await withPicture({ picture: state.picture.picture }, (asked) => api.correlation(asked.picture, x, y, mine.signal));
    if (maps.size >= MOST_MAPS) maps.delete(maps.keys().next().value);
    maps.set(key, heatMap(api.bytesOf(reply.values), reply.side));
    repaint();
  } catch (error) {
    if (!mine.signal.aborted) showError(error);
  }
}

function toggleOverlay(name) {
  const on = !state.overlays[name];
  const overlays = { ...state.overlays, [name]: on };
  if (on && FIELDS.includes(name)) for (const other of FIELDS) if (other !== name) overlays[other] = false;
  change({ overlays });
}

function showToggles() {
  for (const [name, on] of Object.entries(state.overlays)) byId(`show-${name}`).setAttribute("aria-pressed", String(on));
  const { answer, chosen, overlays } = state;
  const spread = overlays.spread && Boolean(answer?.spread);
  byId("heat-legend").hidden = !(overlays.correlation || spread);
  byId("heat-low").textContent = overlays.correlation ? "uncorrelated" : "equal";
  byId("heat-high").textContent = overlays.correlation ? "correlated" : "different";
  const sample = answer?.samples[chosen];
  const motion = overlays.motion && sample?.motion;
  byId("motion-legend").hidden = !motion;
  if (motion) byId("motion-scale").textContent = `rim: ${(motionOf(sample, answer).longest * answer.motionUnit).toFixed(1)} px`;
}

function showAmbiguity() {
  const { answer, ambiguities } = state;
  const isMotionless = state.about && !state.about.model.predicts_motion;
  const value = byId("ambiguity-value");
  const single = answer?.done && answer.samples.length < 2;
  const latest = single ? null : ambiguities.at(-1);
  value.textContent = latest ? `${latest.value.toFixed(2)} px` : "–";
  const words = byId("ambiguity-words");
  if (isMotionless) words.textContent = "This model does not predict motion, so ambiguity and the motion overlays are unavailable.";
  else if (single) words.textContent = "Ambiguity needs at least two samples.";
  else words.textContent = USUAL;
  sparkline(byId("ambiguity-history"), ambiguities);
}

function sparkline(canvas, points) {
  const ctx = canvas.getContext("2d");
  const { width, height } = canvas;
  const style = getComputedStyle(canvas);
  ctx.clearRect(0, 0, width, height);
  ctx.strokeStyle = ctx.fillStyle = style.color;
  ctx.globalAlpha = 0.25;
  ctx.fillRect(0, height - 2, width, 2);
  ctx.globalAlpha = 1;
  const values = points.map((point) => point.value.toFixed(2)).join(", ");
  canvas.hidden = points.length < 2;
  canvas.setAttribute("aria-label", `Ambiguity of the last answers, px: ${values}`);
  if (canvas.hidden) return;
  const most = Math.max(...points.map((point) => point.value), 1e-6);
  const across = (index) => 8 + (index * (width - 18)) / (points.length - 1);
  const up = (value) => height - 8 - (value / most) * (height - 18);
  ctx.lineWidth = 3;
  ctx.lineJoin = "round";
  ctx.beginPath();
  points.forEach((point, index) => ctx.lineTo(across(index), up(point.value)));
  ctx.stroke();
  ctx.beginPath();
  ctx.arc(across(points.length - 1), up(points.at(-1).value), 6, 0, Math.PI * 2);
  ctx.fill();
}

/** Make toggles, legends and the meter work. */
export function startOverlays() {
  drawWheel(byId("motion-wheel"));
  for (const name of Object.keys(state.overlays)) byId(`show-${name}`).addEventListener("click", () => toggleOverlay(name));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showAmbiguity);
  subscribe((changed) => {
    if (changed.has("overlays") || changed.has("answer") || changed.has("chosen")) showToggles();
    if (["overlays", "hover", "cursor", "selected", "drag", "picture"].some((name) => changed.has(name))) restThenAsk();
    if (["ambiguities", "answer", "about", "theme"].some((name) => changed.has(name))) showAmbiguity();
    if (changed.has("about")) {
      for (const name of ["spread", "motion"]) byId(`show-${name}`).disabled = !state.about.model.predicts_motion;
    }
  });
}
