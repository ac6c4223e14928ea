/** What deploy/ says must be what the mesh is: images, compose file, units, and the page that explains them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PREFERRED_VERSION, serverConf, USERS } from "@swarm-mesh/server";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { variableOf } from "../packages/process/src/config.ts";
import { Config as AuthenticatorConfig } from "../services/authenticator/src/config.ts";
import { Config as CoordinatorConfig } from "../services/coordinator/src/config.ts";
import { Config as HealthMonitorConfig } from "../services/health-monitor/src/config.ts";
import { Config as MigratorConfig } from "../services/migrator/src/config.ts";
import { Config as RegistryConfig } from "../services/registry/src/config.ts";

const root = join(import.meta.dirname, "..");
const SERVICES = {
  authenticator: AuthenticatorConfig,
  coordinator: CoordinatorConfig,
  "health-monitor": HealthMonitorConfig,
  migrator: MigratorConfig,
  registry: RegistryConfig,
} as const;
const NAMES = Object.keys(SERVICES) as (keyof typeof SERVICES)[];
/** By it the authenticator signs. */
const ISSUER = "issuer";
/** A service that is told to stop ends itself after ten seconds; a node drains for thirty. */
const SERVICE_STOP_S = 10;
const NODE_STOP_S = 30;

describe("Dockerfile", () => {
  const stages = text("deploy/Dockerfile")
    .split(/^(?=FROM )/m)
    .slice(1);

  test("builds on the Node of .nvmrc and the nats-server that is developed against", () => {
    expect(text("deploy/Dockerfile")).toContain(`ARG NODE_VERSION=${text(".nvmrc").trim()}\n`);
    expect(text("deploy/Dockerfile")).toContain(`ARG NATS_VERSION=${PREFERRED_VERSION}\n`);
  });

  test.each(["nats", "last"])(
    "stage %s is run by a user without rights, and can be asked",
    (name) => {
      const stage = stages.find((each) => each.includes(` AS ${name}\n`)) ?? stages.at(-1) ?? "";
      expect(stage).toMatch(/^USER [1-9]\d+:[1-9]\d+$/m);
      expect(stage).toMatch(/^HEALTHCHECK .*\\\n\s+CMD \[/m);
      expect(stage).toMatch(/^ENTRYPOINT \[/m);
    },
  );

  test("takes into the last stage the release alone", () => {
    expect(stages.at(-1)?.match(/^COPY .*/gm)).toEqual(["COPY --from=build /app /app"]);
  });
});

/** The keys of a compose file that the mesh relies on. */
interface ComposeService {
  readonly user?: string;
  readonly image: string;
  readonly build?: unknown;
  readonly pull_policy?: string;
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly secrets?: readonly string[];
  readonly ports?: readonly string[];
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly restart?: string;
  readonly depends_on?: unknown;
  readonly stop_grace_period?: string;
  readonly healthcheck?: { readonly disable?: boolean };
}
interface Compose {
  readonly services: Readonly<Record<string, ComposeService>>;
  readonly secrets: Readonly<Record<string, { readonly file: string }>>;
}

describe("compose.yaml", () => {
  const compose = parse(text("deploy/compose.yaml"), { merge: true }) as Compose;
  const { version } = JSON.parse(text("package.json")) as { readonly version: string };

  test("has the server, each service, a node and the command", () => {
    expect(Object.keys(compose.services).sort()).toEqual(
      ["nats", ...NAMES, "n1", "dashboard", "swarmctl"].sort(),
    );
  });

  test("each image is built by one service, and never asked of a registry", () => {
    const built = Object.values(compose.services).filter(({ build }) => build !== undefined);
    const images = built.map(({ image }) => image);
    expect(images.sort()).toEqual([`swarm-mesh-nats:${version}`, `swarm-mesh:${version}`]);
    for (const [name, { build, pull_policy }] of Object.entries(compose.services)) {
      if (build === undefined) expect(pull_policy, name).toBe("never");
    }
  });

  test("whoever connects, without TLS, is told that the network is its own", () => {
    const connecting = Object.values(compose.services).flatMap(({ environment }) =>
      environment?.["NATS_URL"] === undefined ? [] : [environment],
    );
    expect(connecting).toHaveLength(NAMES.length + 2);
    for (const one of connecting) expect(one).toMatchObject({ MESH_ALLOW_PLAINTEXT: "1" });
  });

  test.each(Object.entries(compose.services))(
    "%s can write and reach nothing it need not",
    (name, service) => {
      expect(service).toMatchObject({
        read_only: true,
        cap_drop: ["ALL"],
        security_opt: ["no-new-privileges:true"],
        restart: name === "swarmctl" ? "no" : "unless-stopped",
        image: expect.stringMatching(new RegExp(`^swarm-mesh(-nats)?:${version}$`)),
      });
      const elsewhere = (service.ports ?? []).filter((port) => !port.startsWith("127.0.0.1:"));
      expect(elsewhere).toEqual([]);
    },
  );

  test.each(NAMES)("%s runs as itself, with variables it knows, once there is a server", (name) => {
    const service = compose.services[name];
    expect(service).toMatchObject({
      command: ["service", name],
      secrets: name === "authenticator" ? [name, ISSUER] : [name],
      environment: { NATS_NKEY: `/run/secrets/${name}`, MESH_HTTP_PORT: expect.any(String) },
      depends_on: { nats: { condition: "service_healthy" } },
    });
    const known = Object.keys(SERVICES[name].shape).map(variableOf);
    const mesh = Object.keys(service?.environment ?? {}).filter((key) => key.startsWith("MESH_"));
    expect(known).toEqual(expect.arrayContaining(mesh));
    expect(seconds(service?.stop_grace_period)).toBeGreaterThan(SERVICE_STOP_S);
  });

  test("the dashboard has no key to give, and browsers find the server it names", () => {
    const { dashboard, nats } = compose.services;
    expect(dashboard?.command).toContain("--no-key");
    expect(dashboard?.secrets ?? []).toEqual([]);
    const websocket = dashboard?.environment?.["NATS_WEBSOCKET"] ?? "";
    const [, port] = /^ws:\/\/127\.0\.0\.1:(\d+)$/.exec(websocket) ?? [];
    expect(nats?.ports).toContain(`127.0.0.1:${port}:${port}`);
    expect(text("deploy/container.conf")).toContain(`websocket { listen: "0.0.0.0:${port}"`);
  });

  test("the node may drain before it is killed", () => {
    const { command = [], stop_grace_period } = compose.services["n1"] ?? { image: "" };
    expect(command).toContain(`--drain-timeout=${NODE_STOP_S}s`);
    expect(seconds(stop_grace_period)).toBeGreaterThan(NODE_STOP_S);
  });

  test("each secret is the seed of one user, or the one that signs", () => {
    const users = [...USERS, "n1"] as readonly string[];
    for (const [name, { file }] of Object.entries(compose.secrets)) {
      if (name !== ISSUER) expect(users).toContain(name);
      expect(file).toBe(`./mesh/keys/${name}.${name === ISSUER ? "seed" : "nk"}`);
    }
    const asked = Object.values(compose.services).flatMap(({ secrets = [] }) => secrets);
    expect(asked.sort()).toEqual(Object.keys(compose.secrets).sort());
  });
});

describe("three servers", () => {
  const SERVERS = ["nats-1", "nats-2", "nats-3"];
  const overlay = parse(text("deploy/compose.cluster.yaml"), { merge: true }) as Compose;
  const alone = parse(text("deploy/compose.yaml"), { merge: true }) as Compose;

  test.each(SERVERS)("%s.conf is what `keys init --servers` writes", (name) => {
    expect(text(`deploy/cluster/${name}.conf`)).toBe(serverConf({ name, host: name }));
  });

  test("compose runs each by its own configuration, and everybody knows all of them", () => {
    const { nats, "nats-2": second, "nats-3": third } = overlay.services;
    expect(nats).toMatchObject({ user: second?.user, command: ["-c", "/etc/nats/cluster.conf"] });
    [second, third].forEach((service, index) => {
      expect(service).toMatchObject({
        read_only: true,
        cap_drop: ["ALL"],
        security_opt: ["no-new-privileges:true"],
        image: alone.services["nats"]?.image,
        command: ["-c", `/mesh/${SERVERS[index + 1]}.conf`, "-m", "8222"],
      });
    });
    // Compose joins the lists of both files, and refuses an option that is then there twice.
    for (const name of Object.keys(alone.services)) {
      expect(overlay.services[name], name).not.toHaveProperty("security_opt");
      expect(overlay.services[name], name).not.toHaveProperty("cap_drop");
    }
    // What is published is the first one's, and so what browsers find.
    const first = text("deploy/cluster/container.conf");
    expect(first).toContain('include "../../mesh/nats-1.conf"\n');
    const listens = (conf: string): string[] => conf.match(/^(websocket|http)\b.*$/gm) ?? [];
    expect(listens(first)).toEqual(listens(text("deploy/container.conf")));
    const urls = SERVERS.map((name) => `nats://${name}:4222`).join(",");
    for (const name of Object.keys(alone.services)) {
      if (name === "nats") continue;
      expect(overlay.services[name]?.environment, name).toEqual({ NATS_URL: urls });
    }
  });
});

describe("units", () => {
  const units = readdirSync(join(root, "deploy/systemd")).filter((name) =>
    name.endsWith(".service"),
  );

  test.each(units)("%s is tried for ever, and can do nothing it need not", (name) => {
    expect(text(`deploy/systemd/${name}`).split("\n")).toEqual(
      expect.arrayContaining([
        ...["Restart=always", "StartLimitIntervalSec=0"],
        ...["NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes"],
        ...["CapabilityBoundingSet=", "PrivateTmp=yes", "RestrictSUIDSGID=yes"],
      ]),
    );
  });

  test.each(["swarm-mesh@.service", "swarm-mesh-node@.service"])(
    "%s has a user and a seed of its own",
    (name) => {
      expect(text(`deploy/systemd/${name}`).split("\n")).toEqual(
        expect.arrayContaining([
          ...["DynamicUser=yes", "User=mesh-%i"],
          "LoadCredential=seed:/etc/swarm-mesh/keys/%i.nk",
        ]),
      );
    },
  );

  test("a stop waits for as long as the process may take", () => {
    const patience = (unit: string): number =>
      seconds(/^TimeoutStopSec=(.*)$/m.exec(text(`deploy/systemd/${unit}`))?.[1]);
    expect(patience("swarm-mesh@.service")).toBeGreaterThan(SERVICE_STOP_S);
    expect(patience("swarm-mesh-node@.service")).toBeGreaterThan(NODE_STOP_S);
    const node = text("deploy/systemd/swarm-mesh-node@.service");
    expect(node).toContain(`--drain-timeout ${NODE_STOP_S}s `);
    // Its handlers' programs would be told to end as well.
    expect(node).toContain("\nKillMode=mixed\n");
  });
});

test("docs/operations.md names only files that exist in deploy/", () => {
  const page = text("docs/operations.md");
  const named = [...page.matchAll(/\bdeploy\/[\w./@-]*\w/g)].map(([path]) => path);
  expect(named.length).toBeGreaterThan(0);
  const there = [
    "deploy",
    ...readdirSync(join(root, "deploy"), { recursive: true }).map((name) => `deploy/${name}`),
  ];
  expect(named.filter((path) => !there.includes(path))).toEqual([]);
});

function text(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** `15s` → 15; anything else is no number. */
function seconds(value: string | undefined): number {
  return Number(/^(\d+)s$/.exec(value ?? "")?.[1]);
}
