/**
 * The rules of the house, read from the source itself, so that a lint comment cannot silence them.
 *
 * A new arrow, file, exception or word is an edit to a table below, with its reason.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import {
  BUCKETS,
  ErrorCode,
  Header,
  Identity,
  LeaderEvent,
  LeaderLease,
  NodeEvent,
  NodeLease,
  NodeRecord,
  STREAMS,
  TaskRecord,
  TokenRecord,
} from "@swarm-mesh/protocol";
import { describe, expect, test } from "vitest";
import { ProcessConfig, variableOf } from "../packages/process/src/config.ts";
import { Config as AuthenticatorConfig } from "../services/authenticator/src/config.ts";
import { Config as CoordinatorConfig } from "../services/coordinator/src/config.ts";
import { Config as HealthMonitorConfig } from "../services/health-monitor/src/config.ts";
import { Config as MigratorConfig } from "../services/migrator/src/config.ts";
import { Config as RegistryConfig } from "../services/registry/src/config.ts";

// ── The tables ──────────────────────────────────────────────────────────────────────────────────

const SERVICE_ARROWS = ["bus", "process", "protocol", "runtime"] as const;

/** What each workspace needs of ours at run time; all of it, and nothing else. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  "packages/protocol": [],
  "packages/runtime": [],
  "packages/bus": ["protocol", "runtime"],
  "packages/metrics": ["runtime"],
  "packages/process": ["bus", "metrics", "protocol", "runtime"],
  "packages/client": ["bus", "protocol", "runtime"],
  "packages/node": ["bus", "protocol", "runtime"],
  // Knows where a nats-server comes from and who may do what on it; nothing of tasks.
  "packages/server": ["protocol", "runtime"],
  "packages/testkit": ["bus", "protocol", "runtime"],
  // Judges what others wrote down; it must not share code with what it judges but the protocol.
  "packages/checker": ["protocol"],
  // A page that talks to NATS itself, and the server of its files.
  "packages/dashboard": ["protocol", "runtime", "why"],
  // Decisions alone, for the command line and for the page.
  "packages/why": ["protocol", "runtime"],
  // `swarmctl dev` and `swarmctl service` run everything there is: decision 0012.
  "packages/cli": [
    ...["bus", "checker", "client", "dashboard", "metrics", "node", "process", "protocol"],
    ...["runtime", "server", "why"],
    ...["authenticator", "coordinator", "health-monitor", "migrator", "registry"],
  ],
  "services/authenticator": SERVICE_ARROWS,
  "services/coordinator": SERVICE_ARROWS,
  "services/health-monitor": SERVICE_ARROWS,
  "services/migrator": SERVICE_ARROWS,
  "services/registry": SERVICE_ARROWS,
};

/** What the packages at the bottom take from outside, and what is built into the page. */
const OUTSIDE: Readonly<Record<string, readonly string[]>> = {
  "packages/protocol": ["zod"],
  "packages/runtime": [],
  "packages/dashboard": [
    ...["@nats-io/jetstream", "@nats-io/nats-core", "@preact/signals", "preact", "uplot", "zod"],
  ],
};

interface ServiceFiles {
  /** Pure: data in, data out. They import the protocol and each other. */
  readonly decisions: readonly string[];
  /** Wiring that was too much for one service.ts. */
  readonly parts: readonly string[];
}

/** Beside main.ts, config.ts and service.ts. Why some have more than one: decision 0003. */
const SERVICES: Readonly<Record<string, ServiceFiles>> = {
  authenticator: {
    decisions: ["admission"],
    parts: ["callout", "connections", "identities", "native-keys"],
  },
  coordinator: {
    decisions: [
      ...["backlog", "demand", "fleet", "leadership", "lifecycle", "routing", "submit-notes"],
    ],
    parts: [
      ...[
        "announcements",
        "auditor",
        "courier",
        "delivery-info",
        "disconnects",
        "dispatcher",
        "gauges",
      ],
      ...["held-task", "lane-consumers", "lane-store", "lanes", "meters"],
      ...[
        "queries",
        "queue",
        "records",
        "settings",
        "settlement",
        "snapshot",
        "strays",
        "task-trace",
        "term",
        "vigil",
      ],
    ],
  },
  "health-monitor": { decisions: ["inquiry", "liveness"], parts: ["events", "meters"] },
  migrator: { decisions: ["migration"], parts: ["meters"] },
  registry: { decisions: ["registration"], parts: ["meters", "records"] },
};

/** Types that a decision module may name beyond the protocol's. Nothing of them exists at run time. */
const DECISION_TYPES: Readonly<Record<string, readonly string[]>> = {
  // The numbers it judges by are the service's configuration, less what every process has.
  "services/health-monitor/src/liveness.ts": ["./config.ts", "@swarm-mesh/process"],
};

/** Where a rule does not hold, and why. A path that no longer needs it must go. */
const EXCEPTIONS = {
  /** The clock itself, and the source of chance. */
  time: ["packages/runtime/src/clock.ts", "packages/runtime/src/random.ts"],
  json: ["packages/protocol/src/decode.ts"],
} as const;

/** File names that say nothing. */
const NAMELESS = ["common", "helper", "helpers", "misc", "types", "util", "utils"];

const LINES_MAX = 400;
const TEST_LINES_MAX = 600;

/** A schema of settings, as far as its keys and defaults go. */
interface Settings {
  readonly shape: Readonly<Record<string, unknown>>;
}

const CONFIGS: Readonly<Record<string, Settings>> = {
  authenticator: AuthenticatorConfig,
  coordinator: CoordinatorConfig,
  "health-monitor": HealthMonitorConfig,
  migrator: MigratorConfig,
  registry: RegistryConfig,
};

// ── Who may know whom ───────────────────────────────────────────────────────────────────────────

const root = resolve(import.meta.dirname, "..");
const workspaces = ["packages", "services"].flatMap((group) =>
  readdirSync(join(root, group))
    .filter((name) => existsSync(join(root, group, name, "package.json")))
    .map((name) => `${group}/${name}`),
);

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

describe.each(workspaces)("%s", (workspace) => {
  const { dependencies = {}, devDependencies = {} } = JSON.parse(
    read(`${workspace}/package.json`),
  ) as Manifest;
  const sources = sourcesOf(workspace);

  test("has exactly its arrows, as declared and as imported", () => {
    const allowed = [...(ARROWS[workspace] ?? ["not in the table"])].sort();
    expect(oursAmong(Object.keys(dependencies))).toEqual(allowed);
    expect(oursAmong(sources.flatMap(importsOf).map(({ from }) => from))).toEqual(allowed);
  });

  test("knows of our other workspaces in tests alone the testkit", () => {
    const others = oursAmong(Object.keys(devDependencies));
    expect(["testkit"]).toEqual(expect.arrayContaining(others));
  });

  test("takes from outside what it declares", () => {
    const used = new Set(
      sources
        .flatMap(importsOf)
        .filter(({ from }) => !/^(\.|node:|@swarm-mesh\/)/.test(from))
        .map(({ from }) => packageOf(from)),
    );
    const declared = OUTSIDE[workspace] ?? Object.keys(dependencies);
    expect([...used].filter((name) => !declared.includes(name))).toEqual([]);
  });

  test("enters others by their front door, and never by a path", () => {
    const deep = sources.flatMap((source) =>
      importsOf(source)
        .filter(({ from }) => /^@swarm-mesh\/[^/]+\//.test(from) || leaves(from, source, workspace))
        .map(({ from }) => `${source.path}: ${from}`),
    );
    expect(deep).toEqual([]);
  });
});

test("the table names no workspace that is gone", () => {
  expect(Object.keys(ARROWS).sort()).toEqual([...workspaces].sort());
});

// ── What a service is made of ───────────────────────────────────────────────────────────────────

describe.each(Object.entries(SERVICES))("service %s", (name, { decisions, parts }) => {
  const home = `services/${name}`;

  test("has its files, and no other", () => {
    const expected = ["main", "config", "service", ...decisions, ...parts].map(
      (file) => `${home}/src/${file}.ts`,
    );
    expect(
      sourcesOf(home)
        .map(({ path }) => path)
        .sort(),
    ).toEqual(expected.sort());
    expect(existsSync(join(root, home, "README.md")), "README.md").toBe(true);
    expect(decisions.length).toBeGreaterThan(0);
  });

  test.each(decisions)("decides in %s.ts without a side effect", (decision) => {
    const path = `${home}/src/${decision}.ts`;
    const source = sourceOf(path);
    const friends = ["@swarm-mesh/protocol", ...decisions.map((file) => `./${file}.ts`)];
    const strangers = importsOf(source).filter(({ from, typeOnly }) => {
      if (friends.includes(from)) return false;
      return !(typeOnly && DECISION_TYPES[path]?.includes(from));
    });
    expect(strangers.map(({ from }) => from)).toEqual([]);
    expect(linesWith(source, /\b(await|async|Promise|fetch|process\.\w)/)).toEqual([]);
  });

  test("tells each of its own settings in its README", () => {
    const readme = read(`${home}/README.md`);
    expect(ownKeys(name).filter((key) => !readme.includes(`\`${key}\``))).toEqual([]);
  });
});

test("every service is in the table", () => {
  expect(Object.keys(SERVICES).sort()).toEqual(readdirSync(join(root, "services")).sort());
});

// ── What only one place may do ──────────────────────────────────────────────────────────────────

const shipped = workspaces
  .filter((workspace) => workspace !== "packages/testkit")
  .flatMap((workspace) => sourcesOf(workspace));

test("time and chance come from the runtime package", () => {
  const pattern =
    /\b(Date|setTimeout|setInterval|performance|hrtime)\b|\bMath\.random\b|["']node:timers/;
  expect(violations(shipped, pattern, EXCEPTIONS.time)).toEqual([]);
});

test("JSON is parsed by the protocol package", () => {
  expect(violations(shipped, /\bJSON\.parse\b/, EXCEPTIONS.json)).toEqual([]);
});

const beyondProtocol = shipped.filter(({ path }) => !path.startsWith("packages/protocol/"));

test("subjects are written in the protocol package", () => {
  const subject = /\bmesh\.(tasks|nodes?|registry|coordinator|events|dead|audit|identity)\.|\$KV\./;
  expect(violations(literalsOnly(beyondProtocol), subject, [])).toEqual([]);
});

test("streams and buckets are named in the protocol package, each once", () => {
  const names = [...STREAMS, ...BUCKETS].map(({ name }) => name);
  const pattern = new RegExp(`\\b(${names.join("|")})\\b`);
  expect(violations(literalsOnly(beyondProtocol), pattern, [])).toEqual([]);
  const defined = read("packages/protocol/src/stores.ts").matchAll(/^ {2}name: "(\w+)",$/gm);
  expect([...defined].map(([, name]) => name)).toEqual(names);
});

// ── How a file looks ────────────────────────────────────────────────────────────────────────────

test("exports have names: no default, no star", () => {
  const all = workspaces.flatMap((workspace) => sourcesOf(workspace));
  expect(violations(all, /^\s*export (default\b|\*)/, [])).toEqual([]);
});

const texts = walk(root).filter((path) =>
  /\.(ts|js|mjs|json|md|conf|ya?ml|sh)$|\/run$|^LICENSE$/.test(path),
);
const isTest = (path: string): boolean => /(^|\/)test\//.test(path);

test("no file is longer than can be read in one go", () => {
  const long = texts
    .filter((path) => /\.(ts|js|mjs)$/.test(path))
    .map((path) => ({ path, lines: read(path).trimEnd().split("\n").length }))
    .filter(({ path, lines }) => lines > (isTest(path) ? TEST_LINES_MAX : LINES_MAX));
  expect(long).toEqual([]);
});

test("files are named for what they hold", () => {
  expect(texts.filter((path) => NAMELESS.includes(basename(path).replace(/\..*$/, "")))).toEqual(
    [],
  );
});

test("no file knows the machine it was written on", () => {
  const here = /(^|[^\w.~-])\/(work|root|home|Users)\/[\w.]/;
  const anywhere = /(^|[^\w.~-])\/(work|root|home|Users|tmp)\/[\w.]/;
  const found = texts
    .filter((path) => path !== "package-lock.json")
    .flatMap((path) => linesWith(rawSource(path), isTest(path) ? here : anywhere));
  expect(found).toEqual([]);
});

test("no test is skipped", () => {
  const tests = texts.filter((path) => path.endsWith(".test.ts")).map((path) => sourceOf(path));
  const pattern = /\b(test|it|describe|suite)(\.\w+)*\.(only|skip|todo|skipIf|runIf)\b/;
  expect(violations(tests, pattern, [])).toEqual([]);
});

// ── What the documentation must say ─────────────────────────────────────────────────────────────

test.each(Object.keys(CONFIGS))("docs/configuration.md has every key of %s", (name) => {
  const page = read("docs/configuration.md");
  const rows = tableUnder(page, `### ${name}`);
  for (const key of ownKeys(name)) {
    const [, variable = "", value = ""] = rows.find(([cell]) => cell === `\`${key}\``) ?? [];
    expect({ key, variable, default: plain(value) }).toEqual({
      key,
      variable: `\`${variableOf(key)}\``,
      default: defaultOf(CONFIGS[name], key) ?? "–",
    });
  }
  expect(rows.map(([cell]) => cell?.replaceAll("`", "")).sort()).toEqual(ownKeys(name).sort());
});

test("docs/configuration.md has every key of all services", () => {
  const rows = tableUnder(read("docs/configuration.md"), "### Every service");
  for (const key of Object.keys(ProcessConfig.shape)) {
    const [, variable = "", value = ""] = rows.find(([cell]) => cell === `\`${key}\``) ?? [];
    expect(variable).toContain(`\`${variableOf(key)}\``);
    const wanted = defaultOf(ProcessConfig, key);
    if (wanted !== undefined) expect(plain(value)).toBe(wanted);
  }
});

const protocolPage = (): string => read("docs/protocol.md");

test("docs/protocol.md has every subject and key", () => {
  const source = read("packages/protocol/src/subjects.ts");
  const builders = source.match(/^export const /gm)?.length ?? 0;
  const forms = [...source.matchAll(/^\/\/ (\S+(?: \| \S+)*)(?: {2,}.*)?\nexport const /gm)];
  // The literal form stands above each builder.
  expect(forms.length).toBe(builders);
  const subjects = forms.flatMap(([, form = ""]) => form.split(" | ").flatMap(alternatives));
  expect(subjects.filter((subject) => !protocolPage().includes(subject))).toEqual([]);
});

test("docs/protocol.md has every header, error code, stream, bucket and field", () => {
  const page = protocolPage();
  const records = [
    ...[TaskRecord, NodeRecord, NodeLease, LeaderLease, NodeEvent, LeaderEvent],
    ...[Identity, TokenRecord],
  ];
  const words = [
    ...Object.values(Header),
    ...ErrorCode.options,
    ...[...STREAMS, ...BUCKETS].map(({ name }) => name),
    ...records.flatMap((record) => Object.keys(record.shape)),
  ];
  expect(words.filter((word) => !page.includes(`\`${word}\``))).toEqual([]);
});

test("every link between our pages leads somewhere", () => {
  const broken = texts
    .filter((path) => path.endsWith(".md"))
    .flatMap((path) =>
      [...read(path).matchAll(/\]\(([^)#\s]+)(#[^)]*)?\)/g)]
        .map(([, target = ""]) => target)
        .filter((target) => !/^[a-z]+:/.test(target))
        .filter((target) => !existsSync(join(root, dirname(path), target)))
        .map((target) => `${path}: ${target}`),
    );
  expect(broken).toEqual([]);
});

// ── Reading the source ──────────────────────────────────────────────────────────────────────────

interface Source {
  /** From the root, with `/`. */
  readonly path: string;
  /** Without comments, every line in its place. */
  readonly code: string;
}

interface Import {
  readonly from: string;
  readonly typeOnly: boolean;
}

function read(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

function rawSource(path: string): Source {
  return { path, code: read(path) };
}

function sourceOf(path: string): Source {
  return { path, code: withoutComments(read(path)) };
}

function sourcesOf(workspace: string): Source[] {
  return walk(join(root, workspace, "src")).map((path) => sourceOf(`${workspace}/src/${path}`));
}

/** What is made, not written, or a reader's own. Of what a dot hides, only the pipeline is ours. */
function isForeign(name: string): boolean {
  const made = ["coverage", "dist", "node_modules", "play"];
  return made.includes(name) || (name.startsWith(".") && name !== ".ci");
}

/** Every file below `folder` that is ours, as a path from it. */
function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (isForeign(entry.name)) return [];
    if (entry.isDirectory()) {
      return walk(join(folder, entry.name)).map((path) => `${entry.name}/${path}`);
    }
    return entry.name.endsWith(".tsbuildinfo") ? [] : [entry.name];
  });
}

function withoutComments(code: string): string {
  return code
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ""))
    .replace(/(^|\s)\/\/.*$/gm, "$1");
}

/** The same files, with nothing left but what stands between quotes; values put in are left out. */
function literalsOnly(sources: readonly Source[]): Source[] {
  const literal = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`/g;
  return sources.map(({ path, code }) => {
    let kept = "";
    let end = 0;
    for (const { 0: text, index } of code.matchAll(literal)) {
      kept += code.slice(end, index).replace(/[^\n]/g, "") + text.replace(/\$\{[^}]*\}/g, "");
      end = index + text.length;
    }
    return { path, code: kept };
  });
}

function importsOf({ code }: Source): Import[] {
  const statics = code.matchAll(/^(?:import|export)\s+(type\s)?[^"';]*?from\s+["']([^"']+)["']/gm);
  const bare = code.matchAll(/^import\s+["']([^"']+)["']/gm);
  const dynamic = code.matchAll(/\bimport\(\s*["']([^"']+)["']/g);
  return [
    ...[...statics].map(([, type, from = ""]) => ({ from, typeOnly: type !== undefined })),
    ...[...bare, ...dynamic].map(([, from = ""]) => ({ from, typeOnly: false })),
  ];
}

/** Our workspaces among package names, each once, without the scope. */
function oursAmong(names: readonly string[]): string[] {
  const ours = names.flatMap((name) => /^@swarm-mesh\/([^/]+)/.exec(name)?.[1] ?? []);
  return [...new Set(ours)].sort();
}

function packageOf(from: string): string {
  return from
    .split("/")
    .slice(0, from.startsWith("@") ? 2 : 1)
    .join("/");
}

/** Does a relative import lead out of the workspace? */
function leaves(from: string, { path }: Source, workspace: string): boolean {
  if (!from.startsWith(".")) return false;
  const target = relative(join(root, workspace), resolve(root, dirname(path), from));
  return target.split(sep)[0] === "..";
}

function linesWith({ path, code }: Source, pattern: RegExp): string[] {
  return code
    .split("\n")
    .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : []));
}

/** Lines that break a rule; an exception that is not needed any more breaks it too. */
function violations(
  sources: readonly Source[],
  pattern: RegExp,
  exceptions: readonly string[],
): string[] {
  const found = sources
    .filter(({ path }) => !exceptions.includes(path))
    .flatMap((source) => linesWith(source, pattern));
  return [...found, ...idle(exceptions, sources, pattern)];
}

function idle(
  exceptions: readonly string[],
  sources: readonly Source[],
  pattern: RegExp,
): string[] {
  const needed = (path: string): boolean =>
    sources.some((source) => source.path === path && linesWith(source, pattern).length > 0);
  return exceptions.filter((path) => !needed(path)).map((path) => `${path}: needs no exception`);
}

// ── Reading the documentation ───────────────────────────────────────────────────────────────────

/** `mesh.node.<node>.task|ping` → both. */
function alternatives(form: string): string[] {
  const last = form.lastIndexOf(".") + 1;
  return form
    .slice(last)
    .split("|")
    .map((token) => form.slice(0, last) + token);
}

/** The rows of the first table under a heading, without its head. */
function tableUnder(page: string, heading: string): string[][] {
  const section = page.split(/^(?=#{2,3} )/m).find((part) => part.startsWith(`${heading}\n`)) ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("|"));
  return rows.slice(2).map((row) =>
    row
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

function ownKeys(service: string): string[] {
  const shared = Object.keys(ProcessConfig.shape);
  return Object.keys(CONFIGS[service]?.shape ?? {}).filter((key) => !shared.includes(key));
}

/** A default as text; `undefined` when the key has none. */
function defaultOf(settings: Settings | undefined, key: string): string | undefined {
  const field = settings?.shape[key] as { readonly def?: { readonly defaultValue?: unknown } };
  const value = field.def?.defaultValue;
  return value === undefined ? undefined : String(value);
}

/** A number as people write it, `604 800 000`, or a word in code quotes, as it is in the code. */
function plain(cell: string): string {
  return cell.replace(/[`\s_]/g, "");
}
