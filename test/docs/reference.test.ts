/**
 * The reference is made from what runs. `npm run docs` writes it; this test says when that is due.
 */
import { createRequire } from "node:module";
import { join } from "node:path";
import { Ajv } from "ajv";
import addFormats from "ajv-formats";
import { describe, expect, test } from "vitest";
import { ROOT } from "./markdown.ts";
import { asyncapi, asyncapiYaml } from "./reference/asyncapi.ts";
import { cliPage } from "./reference/cli.ts";
import { configurationPage } from "./reference/configuration.ts";
import { errorsPage } from "./reference/errors.ts";
import { EXCHANGES } from "./reference/exchanges.ts";
import { subjectForms } from "./subjects.ts";

test.each([
  ["asyncapi.yaml", asyncapiYaml],
  ["cli.md", cliPage],
  ["configuration.md", configurationPage],
  ["errors.md", errorsPage],
])("docs/reference/%s is what `npm run docs` writes", async (name, write) => {
  const file = join(ROOT, "docs", "reference", name);
  await expect(write(), `docs/reference/${name} is out of date: npm run docs`).toMatchFileSnapshot(
    file,
  );
});

describe("the AsyncAPI document", () => {
  test("is one by the rules of AsyncAPI", () => {
    const require = createRequire(import.meta.url);
    const ajv = new Ajv({ strict: false, allErrors: true, logger: false });
    addFormats.default(ajv);
    const valid = ajv.compile(require("@asyncapi/specs/schemas/3.0.0-without-$id.json"));
    valid(asyncapi());
    expect(valid.errors ?? []).toEqual([]);
  });

  test("points only at what is there", () => {
    const document = asyncapi();
    const broken = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)]
      .map(([, path = ""]) => path)
      .filter((path) => at(document, path.split("/")) === undefined);
    expect(broken).toEqual([]);
  });

  test("has every subject of the protocol, and no other", () => {
    const forms = subjectForms()
      .filter((form) => form.at(-1) !== ">")
      .map((form) => form.join("."));
    const addresses = EXCHANGES.map(({ address }) => address.replace(/\{(\w+)\}/g, "<$1>"));
    expect(addresses.filter((address) => !address.startsWith("$KV.")).sort()).toEqual(forms.sort());
  });
});

function at(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (part, key) => (part as Readonly<Record<string, unknown>> | undefined)?.[key],
    value,
  );
}
