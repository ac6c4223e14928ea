/** Every error there is: its code, when it comes, and what to do. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ErrorCode } from "@swarm-mesh/protocol";
import { Exit, endingOf } from "../../../packages/cli/src/exit.ts";
import { ROOT } from "../markdown.ts";
import { docsOfClasses } from "./docstrings.ts";
import { cell, heading, table } from "./page.ts";

/** What whoever meets a code can do. A new code needs a line here. */
const REMEDIES: Readonly<Record<ErrorCode, string>> = {
  bad_request: "mend the request; the message names the field",
  bad_header: "mend the header; the message says what it may be",
  bad_capability: "publish to `mesh.tasks.submit.<capability>` or `….<capability>.<lane>`",
  payload_too_large: "store it elsewhere and send where",
  not_found: "a waiting task has no record yet: `swarmctl why <task>`",
  id_in_use: "another process runs under this id: stop it, or take another id",
  stale: "nothing: somebody newer has it",
  not_leader: "ask again; the SDKs do",
  unavailable: "ask again with the same id; when it lasts: `swarmctl status`",
  invalid_input: "submit what the handler's schema asks for",
  invalid_output: "mend the handler",
  handler_failed: "it is tried again; else look at the node's log",
  handler_final: "mend the cause, then `swarmctl dead retry <task>`",
  timeout: "raise `Mesh-Timeout`, or save checkpoints and do less in a try",
  cancelled: "nothing: somebody asked for it",
  handed_back: "nothing: it is placed again",
  lease_lost: "nothing: it is placed again; when it repeats look at the node's link",
  busy: "nothing: another node is looked for",
  unknown_capability: "nothing: another node is looked for",
  token_unknown: "check that it is whole, and made by this mesh: `swarmctl node token`",
  token_expired: "have another made: `swarmctl node token --ttl 1h`",
  token_used: "have another made: each lets one node in",
  unknown_key: "join with a token, or have the key added: `swarmctl keys add`",
  revoked: "delete the seed, and join with a new key",
  signature_missing: "sign it: `swarmctl task submit … --sign-with <seed>`",
  signature_invalid: "sign what is sent, for at most 24 h; nobody may change it on its way",
  signature_expired: "sign and submit again, for longer",
  unknown_signer: "add the signer to the node's `--trust` file, or sign with another key",
  replayed: "sign and submit again, with an id of its own",
  too_many_losses:
    "the task kills its nodes: look at their logs, then `swarmctl dead retry <task>`",
};

const STATUSES: Readonly<Record<keyof typeof Exit, string>> = {
  ok: "done",
  error: "an error that is none of the others; also a task that failed",
  usage: "the command is not right: nothing was done",
  notFound: "there is no such thing",
  conflict: "somebody else was first, or has it",
  timeout: "not in time; ask again",
  denied: "this key may not do it, or is not let in: unknown, revoked, or its token is not good",
};

/** Packages whose errors a user of the mesh may meet. */
const PACKAGES = ["client", "node", "server", "process", "bus"];

/** The page, as it is written to docs/reference/errors.md. */
export function errorsPage(): string {
  return [
    heading("Errors", "the codes in the source"),
    "## Codes of the mesh",
    "In a task's record, in a [refusal](../protocol.md#users-and-inboxes), in an outcome. A handler may use codes of its own, `[a-z0-9_]{1,64}`.",
    codeTable(),
    "## How swarmctl ends",
    'With `-o json` an error is `{ "error": { "code", "message" } }` on standard error.',
    statusTable(),
    "## Errors of the client",
    "`MeshClientError` and what extends it have one of these codes.",
    clientTable(),
    "## Classes of errors",
    "What the packages for TypeScript throw, by name.",
    classTable(),
    "## How a service ends",
    table(
      ["status", "meaning", "what a supervisor does"],
      [
        ["0", "it was asked to end", "nothing"],
        ["1", "a bug, or it had to be ended", "starts it again"],
        [
          "2",
          "a setting or a store is not right; the last line says which",
          "starts it again, which mends nothing until a person did",
        ],
      ],
    ),
  ]
    .join("\n\n")
    .concat("\n");
}

function codeTable(): string {
  const said = new Map(rowsIn("packages/protocol/src/errors.ts").map((row) => [row[0], row]));
  const rows = ErrorCode.options.map((code) => {
    const [, when = "", retryable = ""] = said.get(`\`${code}\``) ?? [];
    if (when === "")
      throw new Error(`packages/protocol/src/errors.ts does not say when ${code} is`);
    return [`\`${code}\``, when, retryable, cell(REMEDIES[code]), String(statusOf(code))];
  });
  return table(["code", "when", "retryable", "what to do", "`swarmctl` ends with"], rows);
}

function statusTable(): string {
  const codes = ErrorCode.options.filter((code) => statusOf(code) !== Exit.error);
  const rows = Object.entries(Exit).map(([name, status]) => [
    String(status),
    STATUSES[name as keyof typeof Exit],
    codes
      .filter((code) => statusOf(code) === status)
      .map((code) => `\`${code}\``)
      .join(" "),
  ]);
  return table(["status", "meaning", "codes of the mesh"], rows);
}

function statusOf(code: string): number {
  return endingOf(Object.assign(new Error(code), { code })).status;
}

function clientTable(): string {
  return table(["code", "when"], rowsIn("packages/client/src/errors.ts"));
}

function classTable(): string {
  const rows = PACKAGES.flatMap((name) => {
    const folder = join(ROOT, "packages", name, "src");
    const shown = readFileSync(join(folder, "mod.ts"), "utf8");
    const source = readdirSync(folder)
      .filter((file) => file.endsWith(".ts"))
      .map((file) => readFileSync(join(folder, file), "utf8"))
      .join("\n");
    return docsOfClasses(source)
      .filter((one) => new RegExp(`\\b${one.name}\\b`).test(shown))
      .map((one) => [`\`${one.name}\``, `\`@swarm-mesh/${name}\``, cell(one.doc)]);
  });
  return table(["class", "package", "meaning"], rows);
}

/** The rows of the table in a file's comments, without its head. */
function rowsIn(path: string): readonly (readonly string[])[] {
  const rows = [...readFileSync(join(ROOT, path), "utf8").matchAll(/^ \* \| (`.*) \|$/gm)];
  return rows.map(([, row = ""]) => row.split(" | ").map((text) => text.trim()));
}
