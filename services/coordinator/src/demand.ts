/**
 * How many tasks to pull from each lane of a capability: never more than there are free slots for,
 * but for a small prefetch, so that a backlog of any size stays in the server.
 *
 * A lane known to hold tasks is asked for as many as fit, the higher lanes first. A lane thought
 * empty keeps a small request open, so that the next task comes without a round trip.
 */

/** What is known of one lane. Lanes come in order of precedence. */
export interface LaneState {
  /** Asked for and not yet delivered. */
  readonly outstanding: number;
  /** Waiting in the server, as of the last delivery. */
  readonly waiting: number;
}

/** The most a lane thought empty is asked for. */
export const PROBE_MAX = 64;
/**
 * The most that is on its way from one lane, however many slots are free: the answer to the leader's
 * renewal of its lease comes behind it on the same connection (measured: 29 000 at once cost leaders
 * their lease).
 */
export const PULL_MAX = 2_000;

/**
 * How many more to ask each lane for.
 *
 * @param lanes in order of precedence.
 * @param room free slots, less the tasks already here for them.
 */
export function planPulls(lanes: readonly LaneState[], room: number): number[] {
  let left = room;
  return lanes.map((lane) => {
    if (left <= 0) return 0;
    const claim = lane.waiting > 0 ? left : Math.min(left, PROBE_MAX);
    const target = Math.min(claim, PULL_MAX);
    // What waits in a lane will come, and takes the room of those behind it.
    left -= Math.min(lane.waiting, Math.max(claim, lane.outstanding));
    // Small refills are saved up: one request for many tasks.
    return lane.outstanding * 2 > target ? 0 : target - lane.outstanding;
  });
}

/**
 * Messages of a lane that are taken for held when nobody could say how many are. Those that were
 * delivered are the first of their lane; of more than so many the rest is found when its record is written.
 */
export const UNKNOWN_HELD_MAX = 256;

/**
 * How many messages of a lane are handed over before it is pulled from.
 *
 * @param held what the old leader had in hand; `undefined`: nobody could say.
 * @param waiting all that the new consumer has.
 */
export function toSettle(held: number | undefined, waiting: number): number {
  return held ?? Math.min(waiting, UNKNOWN_HELD_MAX);
}
