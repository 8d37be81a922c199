// How people come to have an account, and to lose it for a while.

import { randomBytes } from "node:crypto";

import { join } from "../harness/people.ts";
import { expect, expectAccessible, hydrated, signIn } from "../harness/test.ts";
import { test } from "../harness/smtp.ts";
import type { Person, Server } from "../harness/server.ts";
import type { Browser, Page } from "@playwright/test";

const ORG = "engines";
const EMAIL = "grace@example.org";

/** A server with an organisation. */
async function begin(startServer: (options: object) => Promise<Server>, environment: object): Promise<[Server, Person]> {
  const server = await startServer({ environment });
  const person = await server.setUp();
  await person.api.post("/orgs", { slug: ORG, display_name: "Engines" });
  return [server, person];
}

/** A page of somebody else's browser. */
async function elsewhere(browser: Browser, server: Server, person?: Person): Promise<Page> {
  const context = await browser.newContext({ javaScriptEnabled: true });
  const page = await context.newPage();
  if (person) await signIn(page, server.url, person);
  return page;
}

/** Invites from the members' page. */
async function invite(page: Page, server: Server, email: string, role: string): Promise<void> {
  await page.goto(`${server.url}/${ORG}/-/members`);
  await hydrated(page);
  await page.getByLabel("E-mail address").fill(email);
  await page.getByLabel("Role", { exact: true }).selectOption(role);
  await page.getByRole("button", { name: "Invite" }).click();
  await expect(page.getByText(`An invitation is on its way to ${email}.`)).toBeVisible();
  await expect(page.getByRole("list", { name: "Invitations" })).toContainText(email);
}

async function signInByForm(page: Page, email: string, password: string): Promise<void> {
  await page.getByLabel("E-mail").fill(email);
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
}

for (const javaScriptEnabled of [true, false]) {
  test.describe(javaScriptEnabled ? "with JavaScript" : "without JavaScript", () => {
    test.use({ javaScriptEnabled });

    test("who is invited makes an account, and is a member", async ({ page, startServer, mails, browser }) => {
      const [server, person] = await begin(startServer, mails.environment);
      const admin = await elsewhere(browser, server, person);
      await invite(admin, server, EMAIL, "member");
      await expectAccessible(admin);
      const mail = await mails.next(EMAIL);
      expect(mail.subject).toBe("You are invited to Engines");
      expect(mail.text).toContain(`${person.name} (${person.email}) invites you to the organisation Engines, as a member.`);

      await page.goto(mail.link);
      await expect(page.getByText(`${person.email} invites ${EMAIL} to the organisation Engines`)).toBeVisible();
      if (javaScriptEnabled) await expectAccessible(page);
      await page.getByLabel("Name").fill("Grace Hopper");
      await page.getByLabel("Password").fill("password1");
      await page.getByRole("button", { name: "Create the account" }).click();
      await expect(page.getByRole("alert")).toBeVisible();
      const password = randomBytes(12).toString("hex");
      await page.getByLabel("Name").fill("Grace Hopper");
      await page.getByLabel("Password").fill(password);
      await page.getByRole("button", { name: "Create the account" }).click();
      await expect(page.getByRole("heading", { name: "Your account is ready" })).toBeVisible();
      await page.getByRole("link", { name: "Sign in" }).click();
      await signInByForm(page, EMAIL, password);
      await page.waitForURL(`${server.url}/`);
      await page.goto(`${server.url}/${ORG}/-/members`);
      const members = page.getByRole("list", { name: "Members" });
      await expect(members.getByRole("listitem").filter({ hasText: EMAIL })).toContainText("member");
      await expect(page.getByRole("button", { name: "Invite" }), "members invite nobody").toHaveCount(0);

      await page.context().clearCookies();
      await page.goto(mail.link);
      await expect(page.getByRole("heading", { name: "This invitation does not work" })).toBeVisible();
      await admin.reload();
      await expect(admin.getByRole("list", { name: "Invitations" })).toBeHidden();
      await admin.context().close();
    });

    test("who has an account signs in and joins", async ({ page, startServer, mails }) => {
      const [server, person] = await begin(startServer, mails.environment);
      const grace = await join(server, mails, person, ORG, "Grace");
      await person.api.post("/orgs", { slug: "compilers", display_name: "Compilers" });
      await person.session.post("/orgs/compilers/invitations", { email: grace.email, role: "viewer" });
      const { link } = await mails.next(grace.email);

      await signIn(page, server.url, person);
      await page.goto(link);
      await expect(page.getByText("You are signed in as somebody else.")).toBeVisible();
      await page.getByRole("main").getByRole("button", { name: "Sign out" }).click();
      await page.waitForURL("**/sign-in**");
      await page.goto(link);
      await page.getByRole("link", { name: "Sign in" }).click();
      await signInByForm(page, grace.email, grace.password);
      await page.getByRole("button", { name: "Accept" }).click();
      await page.waitForURL(`${server.url}/compilers`);
      await expect(page.getByRole("heading", { level: 1 })).toHaveText("Compilers");
    });
  });
}

test("an invitation that was taken back does not work", async ({ page, startServer, mails, browser }) => {
  const [server, person] = await begin(startServer, mails.environment);
  const admin = await elsewhere(browser, server, person);
  await invite(admin, server, EMAIL, "admin");
  const { link } = await mails.next(EMAIL);
  await page.goto(link);
  await expect(page.getByRole("heading", { name: "You are invited" })).toBeVisible();
  await admin.getByRole("button", { name: `Take back the invitation of ${EMAIL}` }).click();
  await expect(admin.getByRole("list", { name: "Invitations" })).toBeHidden();

  // The page was open already.
  await page.getByLabel("Name").fill("Grace Hopper");
  await page.getByLabel("Password").fill("a long and quiet compiler");
  await page.getByRole("button", { name: "Create the account" }).click();
  await expect(page.getByRole("heading", { name: "This invitation does not work" })).toBeVisible();
  await expect(page.getByText("It was used or taken back")).toBeVisible();
  await expectAccessible(page);
  await admin.context().close();
});

test("administrators invite to the instance", async ({ page, startServer, mails }) => {
  const [server, person] = await begin(startServer, mails.environment);
  await signIn(page, server.url, person);
  await page.goto(`${server.url}/instance/people`);
  await hydrated(page);
  await page.getByLabel("E-mail address").fill(EMAIL);
  await page.getByRole("button", { name: "Invite" }).click();
  await expect(page.getByRole("list", { name: "Invitations" })).toContainText(EMAIL);
  const mail = await mails.next(EMAIL);
  expect(mail.subject).toBe("You are invited to devenv-cloud");
  await page.context().clearCookies();
  await page.goto(mail.link);
  await expect(page.getByText(`${person.email} invites ${EMAIL} to this server.`)).toBeVisible();
});

test("who is disabled is out at once, and back in when enabled", async ({ page, startServer, mails, browser }) => {
  const [server, person] = await begin(startServer, mails.environment);
  const grace = await join(server, mails, person, ORG, "Grace");
  const hers = await elsewhere(browser, server, grace);
  await hers.goto(`${server.url}/${ORG}`);
  await expect(hers.getByRole("heading", { level: 1 })).toHaveText("Engines");

  await signIn(page, server.url, person);
  await page.goto(`${server.url}/instance/people`);
  await hydrated(page);
  const row = page.getByRole("list", { name: "People" }).getByRole("listitem").filter({ hasText: grace.email });
  await row.getByRole("button", { name: "Disable the account of Grace" }).click();
  await expect(row).toContainText("disabled");
  expect((await grace.api.raw("GET", "/orgs")).status, "the token is dead").toBe(401);
  await hers.goto(`${server.url}/${ORG}`);
  expect(new URL(hers.url()).pathname, "the session is over").toBe("/sign-in");
  await signInByForm(hers, grace.email, grace.password);
  await expect(hers.getByRole("alert")).toBeVisible();

  await row.getByRole("button", { name: "Enable the account of Grace" }).click();
  await expect(row).not.toContainText("disabled");
  expect((await grace.api.raw("GET", "/orgs")).status, "the token stays dead").toBe(401);
  await hers.context().clearCookies();
  await hers.goto(`${server.url}/sign-in?return_to=/${ORG}`);
  await signInByForm(hers, grace.email, grace.password);
  await hers.waitForURL(`${server.url}/${ORG}`);
  await hers.context().close();
});

test.describe("nobody disables themselves", () => {
  test.use({ expectedMessages: [/409/] });

  test("so an administrator is left", async ({ page, startServer, mails }) => {
    const [server, person] = await begin(startServer, mails.environment);
    await signIn(page, server.url, person);
    await page.goto(`${server.url}/instance/people`);
    await hydrated(page);
    await page.getByRole("button", { name: `Disable the account of ${person.name}` }).click();
    await expect(page.getByText("you cannot disable your own account", { exact: false })).toBeVisible();
    await page.reload();
    await expect(page.getByRole("list", { name: "People" })).toContainText(person.email);
  });
});
