/** Residuals: lists of [seed, number, weight], which can be varied and interpolated; or {given: base64}, explicit values. */

/** Whether a residual is given by its values, as that of a video's motion. */
export const isGiven = (residual) => typeof residual?.given === "string";

/** Whether a value from outside is a residual. */
export function isResidual(value) {
  return isGiven(value) || (Array.isArray(value) && value.length > 0 && value.every((term) => Array.isArray(term) && term.length === 3 && term.every(Number.isFinite)));
}

/** The residuals of the first samples of a seed. */
export const plain = (seed, count) => Array.from({ length: count }, (_, number) => [[seed, number, 1]]);

/** A random seed of at most six digits. */
export const freshSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000;

/** Spherical interpolation from one residual towards another; an angle of a quarter turn gives the other. */
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

/** Variations of a residual: an angle away from it, each towards another draw of a new seed. */
export function nearby(residual, count, angle, seed = freshSeed()) {
  return plain(seed, count).map((towards) => stepped(residual, towards, angle));
}

/** Whether two residuals are equal. */
export const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
