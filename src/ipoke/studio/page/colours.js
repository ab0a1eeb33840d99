/** Numbers as colours: heat maps and directions of motion. */

const HEAT = [
  [0, [20, 18, 40, 150]],
  [0.35, [122, 28, 109, 150]],
  [0.7, [237, 105, 37, 185]],
  [1, [252, 232, 130, 215]],
];

/** A heat map of uint8 values as a small canvas. */
export function heatMap(values, side) {
  return filled(side, side, (index) => heat(values[index] / 255));
}

function heat(value) {
  const above = Math.max(1, HEAT.findIndex(([stop]) => value <= stop));
  const [[low, from], [high, to]] = [HEAT[above - 1], HEAT[above]];
  const share = (value - low) / (high - low);
  return from.map((part, index) => part + (to[index] - part) * share);
}

/** Motion, int8 pairs, as a small canvas: hue is direction, opacity is length. Also returns the longest length, in units. */
export function motionMap(motion, side) {
  let longest = 1;
  for (let index = 0; index < side * side; index += 1) longest = Math.max(longest, Math.hypot(motion[2 * index], motion[2 * index + 1]));
  const canvas = filled(side, side, (index) => direction(motion[2 * index] / longest, motion[2 * index + 1] / longest));
  return { canvas, longest };
}

/** Draw the colour wheel, the legend of directions. */
export function drawWheel(canvas) {
  const { width } = canvas;
  const middle = (width - 1) / 2;
  const wheel = filled(width, width, (index) => {
    const [x, y] = [((index % width) - middle) / middle, (Math.floor(index / width) - middle) / middle];
    return Math.hypot(x, y) > 1 ? [0, 0, 0, 0] : direction(x, y);
  });
  const ctx = canvas.getContext("2d");
  ctx.clearRect(0, 0, width, width);
  ctx.drawImage(wheel, 0, 0);
}

function direction(x, y) {
  const strength = Math.min(1, Math.hypot(x, y));
  const hue = Math.atan2(y, x) / (Math.PI * 2) + 1;
  const part = (shift) => {
    const place = ((hue * 6 + shift) % 6 + 6) % 6;
    return 255 * Math.min(1, Math.max(0, Math.abs(place - 3) - 1));
  };
  return [part(0), part(4), part(2), 225 * strength ** 0.7];
}

function filled(width, height, colour) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const ctx = canvas.getContext("2d");
  const pixels = ctx.createImageData(width, height);
  for (let index = 0; index < width * height; index += 1) pixels.data.set(colour(index), 4 * index);
  ctx.putImageData(pixels, 0, 0);
  return canvas;
}
