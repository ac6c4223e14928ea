/** Chance that can be drawn again: everything a run does at random comes from its seed. */
import type { Random } from "@swarm-mesh/runtime";

/** The largest seed. */
export const SEED_MAX = 0xffff_ffff;

/** Numbers from 0 up to 1 that are the same for the same seed (mulberry32). */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / (SEED_MAX + 1);
  };
}

/** A whole number from `least` to `most`, both included. */
export function between(random: Random, least: number, most: number): number {
  return least + Math.floor(random() * (most - least + 1));
}

/** One of `choices`, each as likely as its weight among the weights. Throws when there is none. */
export function weighted<T>(random: Random, choices: readonly (readonly [number, T])[]): T {
  const total = choices.reduce((sum, [weight]) => sum + weight, 0);
  let left = random() * total;
  for (const [weight, choice] of choices) {
    left -= weight;
    if (left < 0) return choice;
  }
  const last = choices.at(-1);
  if (last === undefined) throw new Error("nothing to choose from");
  return last[1];
}

/** One of `choices`, all as likely. Throws when there is none. */
export function oneOf<T>(random: Random, choices: readonly T[]): T {
  return weighted(
    random,
    choices.map((choice) => [1, choice]),
  );
}
