/** Pokes as arrows and pins: draw them, and find the one under the pointer. */

const HUES = [214, 32, 146, 282, 330, 52, 184, 98];
const PIN = "#e5342b";
const TURN = Math.PI * 2;
const RING = 9;
const LONG_ENOUGH = 34;

export const isPin = (poke) => poke.dx === 0 && poke.dy === 0;

/** The colour of a poke by its place in the list. */
export const colourOf = (poke, index) => (isPin(poke) ? PIN : `hsl(${HUES[index % HUES.length]} 88% 48%)`);

/** Picture px to canvas px; pixel centres are at integers. */
const toCanvas = (value, scale) => (value + 0.5) * scale;

/** Draw a poke. */
export function drawPoke(ctx, poke, index, scale, { selected = false, faint = false } = {}) {
  const [x, y] = [toCanvas(poke.x, scale), toCanvas(poke.y, scale)];
  const [hx, hy] = [toCanvas(poke.x + poke.dx, scale), toCanvas(poke.y + poke.dy, scale)];
  const colour = colourOf(poke, index);
  ctx.save();
  ctx.globalAlpha = faint ? 0.55 : 1;
  ctx.lineCap = "round";
  ctx.lineJoin = "round";
  if (!isPin(poke)) {
    ring(ctx, hx, hy, RING, 5, "#fff");
    ring(ctx, hx, hy, RING, 2.5, colour);
    const path = arrow(x, y, hx, hy);
    line(ctx, path, 8, "rgb(0 0 0 / 0.25)");
    line(ctx, path, 6.5, "#fff");
    line(ctx, path, 3, colour);
  }
  dot(ctx, x, y, isPin(poke) ? 7 : 5.5, colour);
  if (selected) {
    ctx.setLineDash([3, 4]);
    ring(ctx, x, y, 12, 3, "rgb(0 0 0 / 0.5)");
    ring(ctx, x, y, 12, 1.5, "#fff");
    ctx.setLineDash([]);
  }
  badge(ctx, x, y, hx - x, hy - y, index, colour);
  ctx.restore();
}

/** Draw where a poked point ends, and its distance from the target. */
export function drawReached(ctx, poke, reached, index, scale, width) {
  const [x, y] = [toCanvas(reached.x, scale), toCanvas(reached.y, scale)];
  const [hx, hy] = [toCanvas(poke.x + poke.dx, scale), toCanvas(poke.y + poke.dy, scale)];
  const cross = new Path2D();
  cross.moveTo(x - 4, y - 4);
  cross.lineTo(x + 4, y + 4);
  cross.moveTo(x + 4, y - 4);
  cross.lineTo(x - 4, y + 4);
  ctx.save();
  ctx.lineCap = "round";
  line(ctx, cross, 5, "rgb(0 0 0 / 0.65)");
  line(ctx, cross, 2, "#fff");
  ctx.restore();
  const right = poke.dx < 0 ? hx < 90 : hx < width - 90;
  label(ctx, `${reached.error.toFixed(1)} px`, right ? hx + 16 : hx - 16, hy, right ? "left" : "right");
}

/** Draw the longest drag, and a line to a pointer that is farther away. */
export function drawLimit(ctx, poke, longest, pointer, scale) {
  const [x, y] = [toCanvas(poke.x, scale), toCanvas(poke.y, scale)];
  ctx.save();
  ctx.setLineDash([4, 5]);
  ring(ctx, x, y, longest * scale, 3, "rgb(0 0 0 / 0.35)");
  ring(ctx, x, y, longest * scale, 1.5, "rgb(255 255 255 / 0.9)");
  if (pointer) {
    const beyond = new Path2D();
    beyond.moveTo(toCanvas(poke.x + poke.dx, scale), toCanvas(poke.y + poke.dy, scale));
    beyond.lineTo(toCanvas(pointer.x, scale), toCanvas(pointer.y, scale));
    line(ctx, beyond, 1.5, "#fff");
  }
  ctx.restore();
  if (pointer) {
    const beyond = 1 + 28 / Math.hypot(poke.dx * scale, poke.dy * scale);
    label(ctx, "maximum length", toCanvas(poke.x + poke.dx * beyond, scale), toCanvas(poke.y + poke.dy * beyond, scale), "center");
  }
}

/** Draw the keyboard cursor. */
export function drawCursor(ctx, at, scale) {
  const [x, y] = [toCanvas(at.x, scale), toCanvas(at.y, scale)];
  const cross = new Path2D();
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    cross.moveTo(x + dx * 4, y + dy * 4);
    cross.lineTo(x + dx * 14, y + dy * 14);
  }
  line(ctx, cross, 4.5, "rgb(0 0 0 / 0.7)");
  line(ctx, cross, 2, "#fff");
}

/** The poke whose dot or head is nearest to a point and within reach; the selected one is preferred: {index, part} or null. */
export function pokeAt(pokes, x, y, reach, selected) {
  let best = null;
  pokes.forEach((poke, index) => {
    const tail = Math.hypot(poke.x - x, poke.y - y);
    const head = isPin(poke) ? Infinity : Math.hypot(poke.x + poke.dx - x, poke.y + poke.dy - y);
    const far = Math.min(tail, head);
    const rank = index === selected ? far - reach : far;
    if (far <= reach && (!best || rank < best.rank)) best = { index, part: head < tail ? "head" : "tail", rank };
  });
  return best && { index: best.index, part: best.part };
}

/** The path of an arrow that ends at its target's ring, so that the picture stays visible inside the ring. */
function arrow(x, y, hx, hy) {
  const path = new Path2D();
  const angle = Math.atan2(hy - y, hx - x);
  const length = Math.hypot(hx - x, hy - y);
  const barb = Math.min(12, length * 0.6);
  const gap = length > LONG_ENOUGH ? RING + 2 : 0;
  const [tx, ty] = [hx - gap * Math.cos(angle), hy - gap * Math.sin(angle)];
  path.moveTo(x, y);
  path.lineTo(tx, ty);
  for (const side of [-1, 1]) {
    path.moveTo(tx, ty);
    path.lineTo(tx - barb * Math.cos(angle + side * 0.5), ty - barb * Math.sin(angle + side * 0.5));
  }
  return path;
}

function badge(ctx, x, y, dx, dy, index, colour) {
  const length = Math.hypot(dx, dy);
  const [ux, uy] = length ? [-dx / length, -dy / length] : [0.7, -0.7];
  const [cx, cy] = [x + ux * 21, y + uy * 21];
  ctx.beginPath();
  ctx.arc(cx, cy, 9.5, 0, TURN);
  ctx.fillStyle = "#fff";
  ctx.fill();
  ctx.lineWidth = 2;
  ctx.strokeStyle = colour;
  ctx.stroke();
  ctx.fillStyle = "#16181d";
  ctx.font = "600 12px system-ui, sans-serif";
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.fillText(String(index + 1), cx, cy + 0.5);
}

function label(ctx, words, x, y, align) {
  ctx.save();
  ctx.font = "600 12px system-ui, sans-serif";
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  const width = ctx.measureText(words).width + 12;
  const room = ctx.canvas.width / ctx.getTransform().a;
  const wanted = align === "left" ? x : align === "right" ? x - width : x - width / 2;
  const left = Math.max(4, Math.min(room - width - 4, wanted));
  const middle = Math.max(14, y);
  ctx.beginPath();
  ctx.roundRect(left, middle - 10, width, 20, 6);
  ctx.fillStyle = "rgb(18 20 25 / 0.82)";
  ctx.fill();
  ctx.fillStyle = "#fff";
  ctx.fillText(words, left + 6, middle + 0.5);
  ctx.restore();
}

function dot(ctx, x, y, radius, colour) {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, TURN);
  ctx.fillStyle = colour;
  ctx.fill();
  ctx.lineWidth = 2.5;
  ctx.strokeStyle = "#fff";
  ctx.stroke();
}

function ring(ctx, x, y, radius, width, colour) {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, TURN);
  ctx.lineWidth = width;
  ctx.strokeStyle = colour;
  ctx.stroke();
}

function line(ctx, path, width, colour) {
  ctx.lineWidth = width;
  ctx.strokeStyle = colour;
  ctx.stroke(path);
}
