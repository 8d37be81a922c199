// The audit log: what was done is there, for those whom it concerns.

import { readFileSync } from "node:fs";

import { join } from "../harness/people.ts";
import { expect, expectAccessible, hydrated, signIn } from "../harness/test.ts";
import { test as base } from "../harness/smtp.ts";
import type { Person, Server } from "../harness/server.ts";
import type { Locator, Page } from "@playwright/test";

const ORG = "engines";

interface Scene {
  server: Server;
  ada: Person;
  /** A member of the organisation, and no admin. */
  grace: Person;
}

const test = base.extend<{ scene: Scene }>({
  scene: async ({ startServer, mails }, use) => {
    const server = await startServer({ environment: mails.environment });
    const ada = await server.setUp();
    await ada.api.post("/orgs", { slug: ORG, display_name: "Engines" });
    await use({ server, ada, grace: await join(server, mails, ada, ORG, "Grace") });
  },
});

async function open(page: Page, { server }: Scene, person: Person, path: string): Promise<Locator> {
  await signIn(page, server.url, person);
  await page.goto(server.url + path);
  await hydrated(page);
  return page.getByRole("list", { name: "Audit log" }).getByRole("listitem");
}

/** What the export holds. */
async function exported(page: Page): Promise<any[]> {
  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: "Export" }).click();
  const file = await download;
  expect(file.suggestedFilename()).toBe("audit.jsonl");
  const text = readFileSync(await file.path(), "utf8");
  expect(text.endsWith("\n")).toBe(true);
  return text.trimEnd().split("\n").map((line) => JSON.parse(line));
}

test("everybody reads what is about themselves", async ({ page, scene }) => {
  const { server, ada, grace } = scene;
  const wrong = await page.request.post(`${server.url}/api/v1/session`, {
    data: { email: grace.email, password: "not the password" },
    headers: { origin: server.url },
  });
  expect(wrong.ok()).toBe(false);
  const entries = await open(page, scene, grace, "/account/activity");
  await expect(entries.filter({ hasText: "Created an account" })).toHaveCount(1);
  await expect(entries.filter({ hasText: "Accepted an invitation" })).toContainText(`${ORG}, member`);
  await expect(entries.filter({ hasText: "Created a token" })).toContainText("end to end");
  await expect(entries.filter({ hasText: "Signed in · refused" })).toHaveCount(1);
  await expect(page.getByText(ada.email), "nothing of others").toHaveCount(0);
});

test("admins read what happened to their organisation, and nothing else", async ({ page, scene }) => {
  const { ada, grace } = scene;
  const entries = await open(page, scene, ada, `/${ORG}/-/audit`);
  await expect(entries.filter({ hasText: "Created an organisation" })).toContainText(ada.email);
  await expect(entries.filter({ hasText: "Invited somebody" })).toContainText(grace.email);
  await expect(entries.filter({ hasText: "Accepted an invitation" })).toContainText(grace.email);
  await expect(entries.filter({ hasText: "Created a token" }), "tokens are the account's").toHaveCount(0);
});

for (const javaScriptEnabled of [true, false]) {
  test.describe(javaScriptEnabled ? "with JavaScript" : "without JavaScript", () => {
    test.use({ javaScriptEnabled });

    test("administrators read all, filter it and export it", async ({ page, scene }) => {
      const { server, ada, grace } = scene;
      await signIn(page, server.url, ada);
      await page.goto(`${server.url}/instance/audit`);
      if (javaScriptEnabled) await hydrated(page);
      const entries = page.getByRole("list", { name: "Audit log" }).getByRole("listitem");
      await expect(entries.filter({ hasText: "Created an account" })).toHaveCount(2);
      const all = await exported(page);
      expect(all).toHaveLength(await entries.count());
      // Zeros at the end are left out.
      const times = all.map((entry) => entry.at.replace("Z", "").padEnd(26, "0"));
      expect(times, "newest first").toEqual(times.toSorted().toReversed());

      await page.getByLabel("Action").selectOption("Created an account");
      await page.getByLabel("Person, name or address").fill("grace");
      await page.getByRole("button", { name: "Show" }).click();
      await expect(entries).toHaveCount(1);
      await expect(entries).toContainText(grace.email);
      await expect(page.getByLabel("Action")).toHaveValue("account.create");
      await expect(page.getByLabel("Person, name or address")).toHaveValue("grace");
      expect(await exported(page)).toEqual(
        all.filter((entry) => entry.action === "account.create" && entry.actor === grace.email),
      );

      await page.getByLabel("Until").fill("2001-01-01");
      await page.getByRole("button", { name: "Show" }).click();
      await expect(page.getByText("Nothing fits.")).toBeVisible();
      if (javaScriptEnabled) await expectAccessible(page);
    });
  });
}

test.describe("what is not there for everybody", () => {
  test.use({ expectedMessages: [/40[34]/] });

  test("a member reads no audit log but their own", async ({ page, scene }) => {
    const { server, ada, grace } = scene;
    await signIn(page, server.url, grace);
    await page.goto(`${server.url}/${ORG}`);
    await expect(page.getByRole("link", { name: "Audit log" })).toHaveCount(0);
    for (const path of [`/${ORG}/-/audit`, "/instance/audit", "/instance/people", "/instance/mail"]) {
      await page.goto(server.url + path);
      await expect(page.getByRole("heading", { level: 1 }).last(), path).toBeVisible();
      await expect(page.getByRole("list", { name: /Audit log|People|Mails/ }), path).toHaveCount(0);
      await expect(page.getByText(ada.email), path).toHaveCount(0);
    }
    for (const path of [`/orgs/${ORG}/audit`, "/instance/audit"]) {
      for (const end of ["", "/export"]) {
        expect((await grace.session.raw("GET", path + end)).status, path + end).toBeGreaterThanOrEqual(403);
      }
    }
  });
});
