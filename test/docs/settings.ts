/** The schemas of what services are told, by the name of the service: of every service there is. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { z } from "zod";
import { ROOT } from "./markdown.ts";

export type Settings = z.ZodObject;

export const CONFIGS: Readonly<Record<string, Settings>> = Object.fromEntries(
  await Promise.all(
    readdirSync(join(ROOT, "services"))
      .map((name) => ({ name, path: join(ROOT, "services", name, "src", "config.ts") }))
      .filter(({ path }) => existsSync(path))
      .map(async ({ name, path }) => {
        const module = (await import(path)) as { readonly Config: Settings };
        return [name, module.Config] as const;
      }),
  ),
);
