import { join } from "node:path";

/** The page describes none of its schemas as JSON Schema: what could would be 4 KB of it. */
const withoutJsonSchema = {
  name: "without-json-schema",
  load: (id: string) =>
    id.endsWith("/zod/v4/core/json-schema-processors.js")
      ? "export const toJSONSchema = undefined, allProcessors = {};"
      : undefined,
};

/** The page, from `src/page` to `dist/page`: what `serveDashboard` serves. (vite wants a default export.) */
export default {
  root: join(import.meta.dirname, "src", "page"),
  base: "./",
  plugins: [withoutJsonSchema],
  resolve: { conditions: ["@swarm-mesh/source", "module", "browser", "import"] },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: join(import.meta.dirname, "dist", "page"),
    emptyOutDir: true,
    target: "es2023",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
};
