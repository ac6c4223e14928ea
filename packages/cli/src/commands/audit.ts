import type { Command } from "commander";
import type { AuditListFlags, AuditVerifyFlags } from "../audit.ts";
import type { Declare } from "../call.ts";

const LIST_EXAMPLES = `
Examples:
  $ swarmctl audit list --since 1h
  $ swarmctl audit list --action task.cancelled
  $ swarmctl audit list --action node --limit 10 -o json
`;
const VERIFY_EXAMPLES = `
Each entry holds the hash of the one before it, so one that was deleted, edited, moved or put in
between is found, and where. What was cut off at the end is found only by an anchor, the place and
hash of an entry that was kept elsewhere: print one now and then, and keep it where nobody of the
mesh may write. Ends with 1 when something is wrong.

Examples:
  $ swarmctl audit verify
  $ swarmctl audit verify --from-anchor 4711:9f2c…
  $ swarmctl audit export > audit.jsonl && swarmctl audit verify --file audit.jsonl
`;

export function addAuditCommands(program: Command, declare: Declare): void {
  const audit = program.command("audit").description("who did what: list it, export it, verify it");

  const list = audit
    .command("list")
    .alias("ls")
    .description("list the newest entries of the audit trail")
    .option("--limit <count>", "most to list", "50")
    .option("--action <action>", "node.drain, or all that is done to nodes: node")
    .option("--since <duration>", "of the last 30s, 5m, 2h, at most 24h")
    .addHelpText("after", LIST_EXAMPLES);
  declare<AuditListFlags>(list, async (call) => (await import("../audit.ts")).listAudit(call));

  const dump = audit
    .command("export")
    .description("write every entry as it is stored, one a line")
    .addHelpText("after", "\nExample:\n  $ swarmctl audit export > audit.jsonl\n");
  declare(dump, async (call) => (await import("../audit.ts")).exportAudit(call));

  const verify = audit
    .command("verify")
    .description("look whether the trail is what was written, and print an anchor")
    .option("--file <file>", "an exported trail instead of the mesh's; - for standard input")
    .option("--from-anchor <seq:hash>", "what an earlier look printed: the trail must contain it")
    .addHelpText("after", VERIFY_EXAMPLES);
  declare<AuditVerifyFlags>(verify, async (call) =>
    (await import("../audit.ts")).verifyAudit(call),
  );
}
