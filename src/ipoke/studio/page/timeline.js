/** The chain as a row of thumbnails with their pokes; a click goes back to a step. */

import { isPin } from "./arrows.js";
import { chainNow, continueChain, goTo } from "./chain.js";
import { byId, make } from "./dom.js";
import { counted } from "./messages.js";
import { state, subscribe } from "./state.js";

const THUMB = 112;
const PIN = "#e5342b";
const DRAG = "#2b62d9";

function drawThumb(canvas, { picture, pokes = [] }) {
  const ctx = canvas.getContext("2d");
  const scale = Math.max(THUMB / picture.width, THUMB / picture.height);
  ctx.imageSmoothingQuality = "high";
  ctx.translate((THUMB - picture.width * scale) / 2, (THUMB - picture.height * scale) / 2);
  ctx.drawImage(picture.image, 0, 0, picture.width * scale, picture.height * scale);
  ctx.lineCap = "round";
  for (const { x, y, dx, dy } of pokes) {
    const colour = isPin({ dx, dy }) ? PIN : DRAG;
    for (const [line, dot, ink] of [[12, 22, "#fff"], [6, 16, colour]]) {
      for (const [width, length] of [[line, 1], [dot, 0]]) {
        ctx.lineWidth = width;
        ctx.strokeStyle = ink;
        ctx.beginPath();
        ctx.moveTo(x * scale, y * scale);
        ctx.lineTo((x + dx * length) * scale + 0.01, (y + dy * length) * scale);
        ctx.stroke();
      }
    }
  }
}

function thumb(step, index) {
  const canvas = make("canvas", { width: THUMB, height: THUMB });
  const words = `Step ${index + 1}, ${counted(step.pokes?.length ?? 0, "poke")}`;
  const button = make("button", { type: "button", className: "thumb", "aria-label": words, title: words, disabled: !step.picture }, canvas);
  if (step.picture) drawThumb(canvas, step);
  if (index === state.step) button.setAttribute("aria-current", "step");
  else button.addEventListener("click", () => goTo(index));
  return make("li", {}, button);
}

function show() {
  const steps = chainNow();
  byId("timeline").replaceChildren(...steps.map(thumb));
  byId("chain").hidden = steps.length < 2;
  byId("chain-words").textContent = state.rebuilding;
}

function showAbility() {
  byId("continue").disabled = !state.answer?.done;
}

/** Show the chain and make it work. */
export function startTimeline() {
  byId("continue").addEventListener("click", continueChain);
  subscribe((changed) => {
    const touched = ["picture", "pokes", "chain", "step", "drag", "rebuilding"].some((name) => changed.has(name));
    if (touched && !state.drag && state.picture) show();
    if (changed.has("answer")) showAbility();
  });
}
