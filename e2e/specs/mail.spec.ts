// Mails that people act upon: forgotten passwords, addresses, notices.

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

import { Authenticator, code } from "../harness/passkeys.ts";
import { expect, expectAccessible, hydrated, signIn } from "../harness/test.ts";
import { test } from "../harness/smtp.ts";
import type { Person, Server } from "../harness/server.ts";
import type { Page } from "@playwright/test";

const NEW = "an unexpected kettle of herons";

/** Through the sign-in's form, up to what comes after the password. */
async function enterPassword(page: Page, server: Server, email: string, password: string): Promise<void> {
  await page.context().clearCookies();
  await page.goto(`${server.url}/sign-in?return_to=/account`);
  await page.getByLabel("E-mail").fill(email);
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
}

/** Asks for a link; gives what the page says then. */
async function askForReset(page: Page, server: Server, email: string): Promise<string> {
  await page.goto(`${server.url}/reset`);
  await page.getByLabel("E-mail address").fill(email);
  await page.getByRole("button", { name: "Send the link" }).click();
  await expect(page.getByRole("heading", { name: "Look into your mail" })).toBeVisible();
  return page.getByRole("main").innerText();
}

async function setPassword(page: Page, link: string, password: string): Promise<void> {
  await page.goto(link);
  await page.getByLabel("New password").fill(password);
  await page.getByRole("button", { name: "Set the password" }).click();
}

for (const javaScriptEnabled of [true, false]) {
  test.describe(javaScriptEnabled ? "with JavaScript" : "without JavaScript", () => {
    test.use({ javaScriptEnabled });

    test("a forgotten password is set anew by a link, once", async ({ page, startServer, mails }) => {
      const server = await startServer({ environment: mails.environment });
      const person = await server.setUp();
      await page.goto(`${server.url}/sign-in`);
      await page.getByLabel("E-mail").fill(person.email);
      await page.getByRole("button", { name: "Continue" }).click();
      await page.getByRole("link", { name: "I forgot my password" }).click();
      await page.waitForURL("**/reset");
      if (javaScriptEnabled) await expectAccessible(page);

      const unknown = await askForReset(page, server, "nobody@example.org");
      expect(await askForReset(page, server, person.email), "an unknown address looks the same").toBe(unknown);
      const mail = await mails.next(person.email);
      expect(mail.subject).toBe("Set a new password");
      expect(mail.text).toContain(`Hello ${person.name},`);
      expect(mail.html).toContain(mail.link);
      expect(mails.mails.map((mail) => mail.to), "strangers get no mail").toEqual([person.email]);

      await setPassword(page, mail.link, "password1");
      await expect(page.getByRole("alert")).toContainText("too short or too common");
      if (javaScriptEnabled) await expectAccessible(page);
      await setPassword(page, mail.link, NEW);
      await expect(page.getByRole("heading", { name: "The new password is set" })).toBeVisible();
      expect((await person.session.raw("GET", "/account/sessions")).status, "all sessions have ended").toBe(401);
      await page.goto(`${server.url}/account`);
      expect(new URL(page.url()).pathname, "a link signs nobody in").toBe("/sign-in");
      expect((await mails.next(person.email)).subject).toBe("Your password was reset");

      await enterPassword(page, server, person.email, person.password);
      await expect(page.getByRole("alert")).toBeVisible();
      await enterPassword(page, server, person.email, NEW);
      await page.waitForURL("**/account");
      await setPassword(page, mail.link, "another kettle of herons");
      await expect(page.getByRole("alert"), "the link was used").toContainText("This link is not valid");
    });
  });
}

test("a newer link ends the one before", async ({ page, startServer, mails }) => {
  const server = await startServer({ environment: mails.environment });
  const { email } = await server.setUp();
  await askForReset(page, server, email);
  const first = await mails.next(email);
  await askForReset(page, server, email);
  const second = await mails.next(email);
  await setPassword(page, first.link, NEW);
  await expect(page.getByRole("alert")).toContainText("a newer one was sent");
  await setPassword(page, second.link, NEW);
  await expect(page.getByRole("heading", { name: "The new password is set" })).toBeVisible();
});

test("a reset replaces the password and no second factor", async ({ page, startServer, mails }) => {
  const server = await startServer({ environment: mails.environment });
  const person = await server.setUp();
  const { secret } = await person.session.post("/account/codes");
  await person.session.post("/account/codes/confirm", { code: code(secret) });
  expect((await mails.next(person.email)).subject).toBe("One-time codes were set up for your account");
  await askForReset(page, server, person.email);
  await setPassword(page, (await mails.next(person.email)).link, NEW);
  await expect(page.getByRole("heading", { name: "The new password is set" })).toBeVisible();
  await enterPassword(page, server, person.email, NEW);
  await expect(page.getByText("One more step")).toBeVisible();
  await page.goto(`${server.url}/account`);
  expect(new URL(page.url()).pathname).toBe("/sign-in");
  await page.getByLabel("Code of your app").fill(code(secret, 1));
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.waitForURL((url) => url.pathname !== "/sign-in");
});

async function followConfirmation(page: Page, link: string): Promise<void> {
  await page.goto(link);
  await page.getByRole("button", { name: "Confirm the address" }).click();
}

test("an address is confirmed, and changed by a link at the new one", async ({ page, startServer, mails }) => {
  const server = await startServer({ environment: mails.environment });
  const person = await server.setUp();
  await signIn(page, server.url, person);
  await page.goto(`${server.url}/account`);
  await hydrated(page);
  await expect(page.getByText(`${person.email}, not confirmed yet`)).toBeVisible();
  await page.getByRole("button", { name: "Send a link to confirm it" }).click();
  await expect(page.getByText("A link is on its way. It works once")).toBeVisible();
  await followConfirmation(page, (await mails.next(person.email)).link);
  await expect(page.getByRole("heading", { name: "The address is confirmed" })).toBeVisible();

  await page.goto(`${server.url}/account`);
  await hydrated(page);
  await expect(page.getByText(`${person.email}, confirmed`)).toBeVisible();
  const email = "countess@example.org";
  await page.getByLabel("New e-mail address").fill(email);
  await page.getByRole("button", { name: "Change the address" }).click();
  await expect(page.getByText(`A link is on its way to ${email}`)).toBeVisible();
  const mail = await mails.next(email);
  expect(mail.subject).toBe("Confirm your new e-mail address");
  await page.reload();
  await expect(page.getByText(`${person.email}, confirmed`), "nothing changes before").toBeVisible();

  await page.goto(mail.link);
  await expectAccessible(page);
  await page.goto(`${server.url}/account`);
  await expect(page.getByText(`${person.email}, confirmed`), "to look is not to confirm").toBeVisible();
  await followConfirmation(page, mail.link);
  await expect(page.getByRole("heading", { name: "The address is confirmed" })).toBeVisible();
  await expectAccessible(page);
  for (const told of [person.email, email]) {
    const notice = await mails.next(told);
    expect(notice.subject).toBe("The e-mail address of your account was changed");
    expect(notice.text).toContain(`from ${person.email} to ${email}`);
  }
  await followConfirmation(page, mail.link);
  await expect(page.getByRole("alert"), "the link was used").toContainText("This link is not valid");
  await enterPassword(page, server, person.email, person.password);
  await expect(page.getByRole("alert")).toBeVisible();
  await enterPassword(page, server, email, person.password);
  await page.waitForURL("**/account");
});

test("a passkey that is added is announced by mail", async ({ page, startServer, mails }) => {
  const server = await startServer({ environment: mails.environment });
  const person = await server.setUp();
  await signIn(page, server.url, person);
  await Authenticator.add(page);
  await page.goto(`${server.url}/account/security`);
  await hydrated(page);
  await page.getByLabel("Name of the new passkey").fill("laptop");
  await page.getByRole("button", { name: "Add a passkey" }).click();
  const mail = await mails.next(person.email);
  expect(mail.subject).toBe("A passkey was added to your account");
  expect(mail.text).toContain("The passkey “laptop” was added");
  expect(mail.text).toContain("from the address 127.0.0.1 with Chrome on Linux");
  expect(mail.link).toBe(`${server.url}/account`);
});

/** The page of the mails, as an administrator sees it. */
async function openMails(page: Page, server: Server, person: Person): Promise<void> {
  await signIn(page, server.url, person);
  await page.goto(`${server.url}/instance/mail`);
  await hydrated(page);
}

test("what was sent is nobody else's to read", async ({ page, startServer, mails }) => {
  const server = await startServer({ environment: mails.environment });
  const person = await server.setUp();
  await askForReset(page, server, person.email);
  await mails.next(person.email);
  const state = async () => (await person.session.get("/instance/mails")).items[0]?.state;
  await expect.poll(state).toBe("sent");
  await openMails(page, server, person);
  const list = page.getByRole("list", { name: "Mails" });
  await expect(list).toContainText("Set a new password");
  await expect(list).toContainText("sent");
  await expect(list.getByRole("link")).toHaveCount(0);
});

test("without a mail server administrators read the mails, and nobody else", async ({ page, startServer }) => {
  const server = await startServer();
  const person = await server.setUp();
  await askForReset(page, server, person.email);
  const state = async () => (await person.session.get("/instance/mails")).items[0]?.state;
  await expect.poll(state).toBe("written");
  const directory = join(server.stateDirectory, "mail");
  const modes = [directory, ...readdirSync(directory).map((file) => join(directory, file))];
  expect(modes.map((file) => statSync(file).mode & 0o077)).toEqual([0, 0, 0]);

  await openMails(page, server, person);
  await page.getByRole("list", { name: "Mails" }).getByRole("link", { name: "Set a new password" }).click();
  const text = page.getByRole("region", { name: "The mail" }).locator("pre");
  await expect(text).toContainText("/reset?token=");
  await expectAccessible(page);
  const link = /https?:\/\/\S+\/reset\?token=\S+/.exec(await text.innerText())?.[0] ?? "";
  await setPassword(page, link, NEW);
  await expect(page.getByRole("heading", { name: "The new password is set" })).toBeVisible();
});
