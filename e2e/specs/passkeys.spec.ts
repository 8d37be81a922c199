// Passkeys in a real browser with a virtual authenticator.

import { Authenticator } from "../harness/passkeys.ts";
import { expect, expectAccessible, hydrated, signIn, test } from "../harness/test.ts";
import type { Server, Person } from "../harness/server.ts";
import type { Page } from "@playwright/test";

/** A person of the test's own, signed in, with an authenticator. */
async function begin(page: Page, startServer: () => Promise<Server>): Promise<[Server, Person, Authenticator]> {
  const server = await startServer();
  const person = await server.setUp();
  await signIn(page, server.url, person);
  return [server, person, await Authenticator.add(page)];
}

/** Adds a passkey on the account's page. */
async function addPasskey(page: Page, server: Server, name: string): Promise<void> {
  await page.goto(`${server.url}/account/security`);
  await hydrated(page);
  await page.getByLabel("Name of the new passkey").fill(name);
  await page.getByRole("button", { name: "Add a passkey" }).click();
  await expect(page.getByRole("list", { name: "Passkeys" })).toContainText(name);
}

async function signOut(page: Page, server: Server): Promise<void> {
  await page.request.delete(`${server.url}/api/v1/session`, { headers: { origin: server.url } });
}

test("a passkey is added, named, used to sign in with nothing else, and removed", async ({ page, startServer }) => {
  const [server, person, authenticator] = await begin(page, startServer);
  await addPasskey(page, server, "laptop");
  const [credential] = await authenticator.credentials();
  expect(credential?.isResidentCredential, "it can offer itself").toBe(true);
  await expectAccessible(page);

  await page.getByRole("list", { name: "Passkeys" }).locator("summary").click();
  await page.getByLabel("Name", { exact: true }).fill("the old laptop");
  await page.getByRole("button", { name: "Rename", exact: true }).click();
  await expect(page.getByRole("list", { name: "Passkeys" })).toContainText("the old laptop");

  await signOut(page, server);
  await authenticator.setPresence(false);
  await page.goto(`${server.url}/sign-in?return_to=/account/sessions`);
  await hydrated(page);
  await authenticator.setPresence(true);
  await page.getByRole("button", { name: "Use a passkey" }).click();
  await page.waitForURL("**/account/sessions");
  await expect(page.getByRole("list", { name: "Sessions" })).toContainText("two factors");
  await expect(page.getByRole("list", { name: "Sessions" })).toContainText("passkey");

  // The password goes on: the passkey is not the last way in.
  await page.goto(`${server.url}/account/security`);
  await hydrated(page);
  await expect(page.getByRole("list", { name: "Passkeys" })).toContainText("used");
  await page.getByRole("button", { name: "Remove the old laptop" }).click();
  await expect(page.getByText("You have none yet.")).toBeVisible();
  const viewer = await page.request.get(`${server.url}/api/v1/session`);
  expect((await viewer.json()).user.email).toBe(person.email);
});

test("it offers itself before anything is typed", async ({ page, startServer }) => {
  const [server, , authenticator] = await begin(page, startServer);
  await addPasskey(page, server, "laptop");
  await signOut(page, server);
  // The virtual authenticator takes the offer of the field at once.
  expect(await authenticator.credentials()).toHaveLength(1);
  await page.goto(`${server.url}/sign-in?return_to=/account`);
  await page.waitForURL("**/account");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Account");
});

test("after the password it is the second factor", async ({ page, startServer }) => {
  const [server, person, authenticator] = await begin(page, startServer);
  await addPasskey(page, server, "laptop");
  await signOut(page, server);
  await authenticator.setPresence(false);
  await page.goto(`${server.url}/sign-in`);
  await hydrated(page);
  await page.getByLabel("E-mail").fill(person.email);
  await page.getByRole("button", { name: "Continue" }).click();
  await hydrated(page);
  await page.getByLabel("Password").fill(person.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByText("One more step")).toBeVisible();
  await expectAccessible(page);
  await page.goto(`${server.url}/account`);
  expect(new URL(page.url()).pathname, "half a sign-in is none").toBe("/sign-in");
  await hydrated(page);
  await authenticator.setPresence(true);
  await page.getByRole("button", { name: "Use a passkey" }).click();
  await page.waitForURL(`${server.url}/`);
});

test.describe("what is wrong is refused", () => {
  test.use({ expectedMessages: [/403/] });

  for (const [what, bits] of [
    ["a signature of somebody else's (WA-05, WA-10)", { isBogusSignature: true }],
    ["nobody who was checked (WA-05)", { isBadUV: true }],
    ["nobody who was there (WA-05)", { isBadUP: true }],
  ] as const) {
    test(what, async ({ page, startServer }) => {
      const [server, , authenticator] = await begin(page, startServer);
      await addPasskey(page, server, "laptop");
      await signOut(page, server);
      await authenticator.setPresence(false);
      await page.goto(`${server.url}/sign-in`);
      await hydrated(page);
      await authenticator.setWrong(bits);
      await authenticator.setPresence(true);
      await page.getByRole("button", { name: "Use a passkey" }).click();
      await expect(page.getByText("This passkey was not accepted").or(page.getByText("this passkey was not accepted"))).toBeVisible();
      expect((await page.request.get(`${server.url}/api/v1/session`)).status()).toBe(401);
    });
  }

  test("a passkey that the server does not know (any more)", async ({ page, startServer }) => {
    const [server, , authenticator] = await begin(page, startServer);
    await addPasskey(page, server, "laptop");
    await page.getByRole("button", { name: "Remove laptop" }).click();
    await expect(page.getByText("You have none yet.")).toBeVisible();
    await signOut(page, server);
    await authenticator.setPresence(false);
    await page.goto(`${server.url}/sign-in`);
    await hydrated(page);
    await authenticator.setPresence(true);
    await page.getByRole("button", { name: "Use a passkey" }).click();
    await expect(page.getByText(/this passkey was not accepted/i)).toBeVisible();
  });

  test("a copy of a passkey whose counter stands still (WA-06)", async ({ page, startServer }) => {
    const [server, , authenticator] = await begin(page, startServer);
    await addPasskey(page, server, "laptop");
    const [copy] = await authenticator.credentials();
    if (!copy) throw new Error("no credential");
    await signOut(page, server);
    await authenticator.setPresence(false);
    await page.goto(`${server.url}/sign-in`);
    await hydrated(page);
    await authenticator.setPresence(true);
    await page.getByRole("button", { name: "Use a passkey" }).click();
    await page.waitForURL(`${server.url}/`);
    await signOut(page, server);
    await authenticator.forget(copy);
    await authenticator.setPresence(false);
    await authenticator.give({ ...copy, signCount: 0 });
    await page.goto(`${server.url}/sign-in`);
    await hydrated(page);
    await authenticator.setPresence(true);
    await page.getByRole("button", { name: "Use a passkey" }).click();
    await expect(page.getByText(/a copy of it/)).toBeVisible();
  });
});
