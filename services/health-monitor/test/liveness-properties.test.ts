import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Config, settle } from "../src/config.ts";
import { Mesh, type Step } from "./mesh.ts";

const { abstainMs, recheckMs } = settle(Config.parse({}), 1);

const IDS = ["n0", "n1", "n2", "n3"];
const steps = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("wait"), ms: fc.nat(1_500) }) },
    {
      weight: 10,
      arbitrary: fc.record({
        kind: fc.constantFrom("disconnect", "pong", "nobody", "timeout", "renew", "expire"),
        id: fc.constantFrom(...IDS),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("link") }) },
  ),
  { maxLength: 60 },
) as fc.Arbitrary<Step[]>;

describe("whatever happens", () => {
  test("fails no node whose life answered the last ping", () => {
    fc.assert(
      fc.property(steps, (all) => {
        const mesh = new Mesh(IDS).settle();
        const lastReply = new Map<string, string>();
        for (const step of all) {
          if ("id" in step && mesh.isAsked(step.id)) lastReply.set(step.id, step.kind);
          mesh.take(step);
          for (const command of mesh.judge()) {
            const [verb, id = ""] = command.split(" ");
            if (verb === "FAILED") expect(lastReply.get(id)).toMatch(/nobody|timeout/);
          }
        }
      }),
    );
  });

  test("fails no node that kept its lease and whose connection stayed", () => {
    fc.assert(
      fc.property(steps, (all) => {
        const mesh = new Mesh(IDS).settle();
        for (const step of all) {
          const about = "id" in step && step.id === "n0";
          if (about && (step.kind === "disconnect" || step.kind === "expire")) continue;
          mesh.take(step);
          expect(mesh.judge()).not.toContain("FAILED n0");
        }
      }),
    );
  });

  test("a node that is gone for good is failed, whatever came before", () => {
    fc.assert(
      fc.property(steps, (all) => {
        const mesh = new Mesh(IDS).settle();
        for (const step of all) mesh.take(step);
        mesh.liveness.link(true, mesh.now);
        mesh.expire("n0");
        const failed: string[] = [];
        const until = mesh.now + abstainMs + 4 * recheckMs;
        while (mesh.now < until && !failed.includes("FAILED n0")) {
          failed.push(...mesh.wait(50).judge());
          for (const id of IDS) mesh.nobody(id);
        }
        expect(failed).toContain("FAILED n0");
      }),
    );
  });

  test("never asks a node twice at once, nor fails the same one twice", () => {
    fc.assert(
      fc.property(steps, (all) => {
        const mesh = new Mesh(IDS).settle();
        const failed = new Set<string>();
        for (const step of all) {
          mesh.take(step);
          const commands = mesh.judge();
          expect(new Set(commands).size).toBe(commands.length);
          for (const command of commands.filter((each) => each.startsWith("FAILED"))) {
            expect(failed).not.toContain(command);
            failed.add(command);
          }
        }
      }),
    );
  });
});
