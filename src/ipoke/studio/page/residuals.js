/** Residuals: lists of [seed, number, weight], which can be drawn, stepped and mixed, or {given: base64} as they are. */

/** Whether a residual is given as it is, as that of a video's motion. */
export const isGiven = (residual) => typeof residual?.given === "string";

/** Whether a value that comes from outside is a residual. */
export function isResidual(value) {
  return isGiven(value) || (Array.isArray(value) && value.length > 0 && value.every((term) => Array.isArray(term) && term.length === 3 && term.every(Number.isFinite)));
}

/** The residuals of the first samples of a seed. */
export const plain = (seed, count) => Array.from({ length: count }, (_, number) => [[seed, number, 1]]);

/** A seed that is short enough to read out. */
export const freshSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000;

/** Go from one residual towards another on the arc between them; a quarter turn arrives. */
export function stepped(start, towards, angle) {
  const weights = new Map();
  for (const [terms, share] of [[start, Math.cos(angle)], [towards, Math.sin(angle)]]) {
    const length = Math.hypot(...terms.map((term) => term[2]));
    for (const [seed, number, weight] of terms) {
      const key = `${seed} ${number}`;
      weights.set(key, (weights.get(key) || 0) + (share * weight) / length);
    }
  }
  return Array.from(weights, ([key, weight]) => [...key.split(" ").map(Number), weight]).filter((term) => Math.abs(term[2]) > 1e-6);
}

/** Residuals a small step away from one, each towards another draw of a fresh seed. */
export function nearby(residual, count, angle, seed = freshSeed()) {
  return plain(seed, count).map((towards) => stepped(residual, towards, angle));
}

/** Whether two residuals are written alike. */
export const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
