/** Tries many things at once, and says what the server refused. */
import type { NatsConnection } from "nats";
import { refusals } from "../mesh.ts";
import type { Direction } from "./mutants.ts";

/** Of `subjects`, those that the server did not let this user publish, or subscribe. */
export async function refusedOf(
  nc: NatsConnection,
  direction: Direction,
  subjects: readonly string[],
): Promise<ReadonlySet<string>> {
  const ignore = (): void => undefined;
  const said = await refusals(nc, () => {
    for (const subject of subjects) {
      if (direction === "publish") nc.publish(subject, "{}");
      else nc.subscribe(subject, { callback: ignore });
    }
  });
  return new Set(said.map((line) => line.slice(line.indexOf(" ") + 1)));
}
