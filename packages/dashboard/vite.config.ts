import { join } from "node:path";

/** The page, from `src/page` to `dist/page`: what `serveDashboard` serves. (vite wants a default export.) */
export default {
  root: join(import.meta.dirname, "src", "page"),
  base: "./",
  resolve: { conditions: ["@swarm-mesh/source", "module", "browser", "import"] },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: join(import.meta.dirname, "dist", "page"),
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
};
