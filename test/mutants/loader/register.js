/** Loaded into every process of a mesh by NODE_OPTIONS: turns on the mutant that MESH_MUTANT describes. */
import { register } from "node:module";
import { isMainThread } from "node:worker_threads";

const { MESH_MUTANT } = process.env;
// A handler's thread runs nothing of the mesh that a mutant changes.
if (MESH_MUTANT !== undefined && isMainThread) {
  register("./hooks.js", import.meta.url, { data: JSON.parse(MESH_MUTANT) });
}
