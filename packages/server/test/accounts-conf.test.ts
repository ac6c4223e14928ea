import { join } from "node:path";
import { expect, test } from "vitest";
import { accountsConf } from "../src/accounts-conf.ts";
import { CONF_PATH } from "../src/server-dir.ts";

test("accounts.conf in the root is what the table of roles says; `npx vitest run -u` renews it", async () => {
  await expect(accountsConf()).toMatchFileSnapshot(join(CONF_PATH, "..", "accounts.conf"));
});
