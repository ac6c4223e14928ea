/**
 * The thread in which a module's handler runs. Plain JavaScript, because Node 20 loads nothing else
 * in a worker, and this file is used from the sources and from the build alike.
 *
 * One task at a time. From the node: `run`, `abort`, `saved`. To the node: `ready`, `unloadable`,
 * `progress`, `checkpoint`, `log`, and at the end `result` or `failed`.
 */
import { parentPort, workerData } from "node:worker_threads";

const port = parentPort;
if (port === null) throw new Error("module-worker.js runs only as a worker");

/** @type {Map<number, { resolve: () => void, reject: (error: Error) => void }>} */
const saving = new Map();
let serial = 0;
let controller = new AbortController();

/** @param {unknown} error */
function described(error) {
  if (!(error instanceof Error)) return { message: String(error) };
  const { message, name, code, retryable } = /** @type {any} */ (error);
  return {
    message,
    ...(typeof code === "string" ? { code } : {}),
    ...(typeof retryable === "boolean"
      ? { retryable }
      : name === "FinalError"
        ? { retryable: false }
        : {}),
  };
}

/** @param {string} kind @param {object} fields */
function tell(kind, fields) {
  port?.postMessage({ kind, ...fields });
}

/** @param {any} task */
function contextOf(task) {
  const signal = controller.signal;
  const log =
    (/** @type {string} */ level) => (/** @type {any} */ fields, /** @type {any} */ text) =>
      typeof fields === "string"
        ? tell("log", { level, fields: {}, message: fields })
        : tell("log", { level, fields, message: String(text ?? "") });
  return {
    id: task.id,
    capability: task.capability,
    attempt: task.attempt,
    payload: task.payload,
    saved: task.saved,
    trace: task.trace,
    signer: task.signer,
    signal,
    savedValue: () => task.savedValue,
    progress: (/** @type {unknown} */ value) => tell("progress", { value }),
    checkpoint: (/** @type {unknown} */ state) =>
      new Promise((resolve, reject) => {
        const number = serial++;
        saving.set(number, { resolve: () => resolve(undefined), reject });
        tell("checkpoint", { number, state });
      }),
    log: { debug: log("debug"), info: log("info"), warn: log("warn"), error: log("error") },
  };
}

/** @param {unknown} value */
function jsonOf(value) {
  const json = JSON.stringify(value === undefined ? null : value);
  if (typeof json === "string") return json;
  throw new TypeError(`a ${typeof value} has no JSON`);
}

/** @param {Function} handle @param {any} task */
async function run(handle, task) {
  controller = new AbortController();
  try {
    const value = await handle(task.value, contextOf(task));
    let json;
    try {
      json = jsonOf(value);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const message = `the result cannot be written as JSON: ${why}`;
      tell("failed", { error: { message, retryable: false } });
      return;
    }
    tell("result", { json });
  } catch (error) {
    tell("failed", { error: described(error) });
  }
}

/** @param {any} message */
function abort({ code, message, graceMs }) {
  controller.abort(Object.assign(new Error(message), { name: "AbortedError", code, graceMs }));
}

/** @param {any} message */
function saved({ number, error }) {
  const waiting = saving.get(number);
  saving.delete(number);
  if (error === undefined) waiting?.resolve();
  else waiting?.reject(Object.assign(new Error(error.message), error));
}

try {
  const { default: handle } = await import(workerData.url);
  if (typeof handle !== "function") throw new Error("its default export is not a function");
  port.on("message", (message) => {
    if (message.kind === "run") void run(handle, message);
    else if (message.kind === "abort") abort(message);
    else saved(message);
  });
  tell("ready", {});
} catch (error) {
  tell("unloadable", { message: error instanceof Error ? error.message : String(error) });
}
