// One-time codes from another hand (oathtool), recovery codes, and confirming
// that it is you.

import { readFileSync } from "node:fs";

import { code } from "../harness/passkeys.ts";
import { expect, expectAccessible, hydrated, signIn, test } from "../harness/test.ts";
import type { Person, Server } from "../harness/server.ts";
import type { Page } from "@playwright/test";

/** Turns one-time codes on; gives their secret. */
async function enrol(page: Page, server: Server, person: Person): Promise<string> {
  await signIn(page, server.url, person);
  await page.goto(`${server.url}/account/security`);
  await hydrated(page);
  await page.getByRole("button", { name: "Set up an app" }).click();
  await expect(page.getByRole("img", { name: "QR code for the app" })).toBeVisible();
  await expectAccessible(page);
  const secret = (await page.locator(".steps pre").innerText()).trim();
  await page.getByLabel("The code that it shows").fill(code(secret));
  await page.getByRole("button", { name: "Turn it on" }).click();
  await expect(page.getByText("Your app gives codes since")).toBeVisible();
  return secret;
}

/** Up to the second step. */
async function firstStep(page: Page, server: Server, person: Person): Promise<void> {
  await page.context().clearCookies();
  await page.goto(`${server.url}/sign-in?return_to=/account`);
  await page.getByLabel("E-mail").fill(person.email);
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByLabel("Password").fill(person.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByText("One more step")).toBeVisible();
}

async function enter(page: Page, label: string, text: string, button: string): Promise<void> {
  await page.getByLabel(label).fill(text);
  await page.getByRole("button", { name: button, exact: true }).click();
}

for (const javaScriptEnabled of [true, false]) {
  test.describe(javaScriptEnabled ? "with JavaScript" : "without JavaScript", () => {
    test.use({ javaScriptEnabled });

    test("a code is asked for after the password, and counts once (OT-02)", async ({ page, startServer, browser }) => {
      const server = await startServer();
      const person = await server.setUp();
      // Setting up draws a picture: that takes a script.
      const scripted = await browser.newContext({ javaScriptEnabled: true });
      const secret = await enrol(await scripted.newPage(), server, person);
      await scripted.close();

      await firstStep(page, server, person);
      await enter(page, "Code of your app", "000000", "Sign in");
      await expect(page.getByRole("alert")).toBeVisible();
      // The one of enrolling is used up; the next one is good a little before its time.
      const next = code(secret, 1);
      await enter(page, "Code of your app", `${next.slice(0, 3)} ${next.slice(3)}`, "Sign in");
      await page.waitForURL("**/account");

      await firstStep(page, server, person);
      await enter(page, "Code of your app", next, "Sign in");
      await expect(page.getByRole("alert"), "the same code again").toBeVisible();
    });
  });
}

test("recovery codes are shown once, can be kept, and each works once", async ({ page, startServer }) => {
  const server = await startServer();
  const person = await server.setUp();
  await enrol(page, server, person);
  await page.getByRole("button", { name: "Make recovery codes" }).click();
  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download" }).click();
  const file = readFileSync(await (await download).path(), "utf8").trim().split("\n");
  expect(file).toHaveLength(10);
  await page.getByRole("button", { name: "I have kept them" }).click();
  await expect(page.getByText("of 10 are left")).toBeVisible();

  const [first, second] = file as [string, string];
  await firstStep(page, server, person);
  await page.getByText("I have lost it").click();
  await enter(page, "Recovery code", first.toLowerCase(), "Sign in with it");
  await page.waitForURL("**/account");
  await page.goto(`${server.url}/account/security`);
  await expect(page.getByText("9 of 10 are left")).toBeVisible();

  await firstStep(page, server, person);
  await page.getByText("I have lost it").click();
  await enter(page, "Recovery code", first, "Sign in with it");
  await expect(page.getByRole("alert")).toBeVisible();
  await page.getByText("I have lost it").click();
  await enter(page, "Recovery code", second, "Sign in with it");
  await page.waitForURL("**/account");
});

test.describe("confirming that it is you", () => {
  // The first answer says that it takes a proof.
  test.use({ expectedMessages: [/403/] });

  test("what matters waits for a proof, and then goes on by itself", async ({ page, startServer, browser }) => {
    const server = await startServer();
    const person = await server.setUp();
    // The person has codes, and this browser knows the password alone: too weak for what matters.
    await signIn(page, server.url, person);
    const other = await browser.newContext();
    const secret = await enrol(await other.newPage(), server, person);
    await other.close();

    await page.goto(`${server.url}/account/tokens`);
    await hydrated(page);
    await page.getByText("New token").click();
    await page.getByLabel("Name").fill("laptop");
    await page.getByRole("button", { name: "Create token" }).click();
    const dialog = page.getByRole("dialog", { name: "Confirm that it is you" });
    await expect(dialog).toBeVisible();
    await expectAccessible(page);
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await expect(page.getByText(/confirm that it is you/i).first()).toBeVisible();

    await page.getByRole("button", { name: "Create token" }).click();
    await dialog.getByLabel("Code of your app").fill(code(secret, 1));
    await dialog.getByRole("button", { name: "Confirm" }).click();
    await expect(page.getByText("It is shown this once.")).toBeVisible();
  });
});
