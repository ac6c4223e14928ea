/** A number from 0 up to 1, as a dependency, so that a test can draw its own. */
export type Random = () => number;

export const systemRandom: Random = () => Math.random();
