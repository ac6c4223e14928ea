#!/usr/bin/env node
import { existsSync } from "node:fs";
import module from "node:module";

const main = new URL("../dist/main.js", import.meta.url);
if (!existsSync(main)) {
  process.stderr.write("swarmctl: it is not built yet; run `npm run build` first\n");
  process.exit(1);
}
// Newer Node keeps compiled code between runs, which halves the start.
module.enableCompileCache?.();
const { main: run } = await import(main.href);
await run();
