// Signing in with an account at a certified OpenID Connect provider, in a real
// browser: two sites, their cookies, and what is allowed between them.

import type { Page } from "@playwright/test";

import { Provider } from "../harness/provider.ts";
import type { Server } from "../harness/server.ts";
import { expect, expectAccessible, test as base } from "../harness/test.ts";

interface Fixtures {
  provider: Provider;
  /** A server that knows the provider as `corp`, and as `posted` with form_post. */
  linked: Server;
}

const test = base.extend<Fixtures>({
  provider: async ({}, use) => {
    const provider = await Provider.start();
    await use(provider);
    await provider.remove();
  },
  linked: async ({ startServer, provider }, use) => {
    const environment = provider.environment({
      corp: { LABEL: "Corp ID", CREATE_ACCOUNTS: "true" },
      posted: { LABEL: "Posted", RESPONSE_MODE: "form_post", CREATE_ACCOUNTS: "true" },
    });
    const server = await startServer({ environment });
    await provider.serve(server.url, ["corp", "posted"]);
    await use(server);
  },
});

// The provider's own pages want a font from elsewhere, and an error page of ours is an error.
test.use({ expectedMessages: [/fonts\.googleapis\.com|Failed to load resource/] });

const LABELS: Record<string, string> = { corp: "Corp ID", posted: "Posted" };

/** Goes to a provider by its button: to sign in, or to link an account there with one's own. */
async function setOut(page: Page, server: Server, name: string, to: { return_to?: string; link?: boolean } = {}): Promise<void> {
  const query = to.return_to ? `?return_to=${encodeURIComponent(to.return_to)}` : "";
  await page.goto(`${server.url}/${to.link ? "account/security" : `sign-in${query}`}`);
  const button = to.link ? `Link an account at ${LABELS[name]}` : `Continue with ${LABELS[name]}`;
  await page.getByRole("button", { name: button }).click();
}

async function whoAmI(page: Page, server: Server): Promise<string | undefined> {
  const answer = await page.request.get(`${server.url}/api/v1/session`);
  return answer.ok() ? (await answer.json()).user.email : undefined;
}

for (const name of ["corp", "posted"]) {
  test(`there and back by ${name}, and once more`, async ({ page, linked, provider }) => {
    await linked.setUp();
    await setOut(page, linked, name, { return_to: "/account" });
    await provider.signIn(page, "grace");
    await page.waitForURL(`${linked.url}/account`);
    expect(await whoAmI(page, linked)).toBe("grace@corp.example");
    const cookies = await page.context().cookies(linked.url);
    expect(cookies.find((cookie) => cookie.name === "sid")).toMatchObject({ httpOnly: true, sameSite: "Lax" });
    // The second time the provider knows the browser, and nobody is asked anything.
    await page.context().clearCookies({ domain: "localhost" });
    expect(await whoAmI(page, linked)).toBeUndefined();
    await setOut(page, linked, name, { return_to: "/account" });
    await page.waitForURL(`${linked.url}/account`);
    expect(await whoAmI(page, linked)).toBe("grace@corp.example");
  });
}

test("the same address asks to sign in first, and is linked then", async ({ page, linked, provider }) => {
  const person = await linked.setUp();
  await setOut(page, linked, "corp", { return_to: "/account" });
  await provider.signIn(page, person.email);
  await page.waitForURL(`${linked.url}/sign-in`);
  expect(await whoAmI(page, linked), "an address opens nothing").toBeUndefined();
  await expect(page.getByText("Somebody here has the address of your account")).toBeVisible();
  await page.getByLabel("Password").fill(person.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(`${linked.url}/account`);
  expect(await whoAmI(page, linked)).toBe(person.email);
  const links = await (await page.request.get(`${linked.url}/api/v1/account/links`)).json();
  expect(links.items).toMatchObject([{ provider: "corp", label: person.email }]);
  // From now on the provider is enough.
  await page.context().clearCookies({ domain: "localhost" });
  await setOut(page, linked, "corp");
  await page.waitForURL(`${linked.url}/`);
  expect(await whoAmI(page, linked)).toBe(person.email);
});

test("linking takes a session, and then signs in", async ({ page, linked, provider, browser }) => {
  const person = await linked.setUp();
  const signedIn = await page.request.post(`${linked.url}/api/v1/session`, {
    data: { email: person.email, password: person.password },
    headers: { origin: linked.url },
  });
  expect(signedIn.ok(), await signedIn.text()).toBe(true);
  await page.goto(`${linked.url}/account`);
  await setOut(page, linked, "corp", { link: true });
  await provider.signIn(page, "lovelace");
  await page.waitForURL(`${linked.url}/account/security**`);
  const links = await (await page.request.get(`${linked.url}/api/v1/account/links`)).json();
  expect(links.items).toMatchObject([{ provider: "corp", provider_label: "Corp ID", label: "lovelace" }]);

  const other = await (await browser.newContext()).newPage();
  await setOut(other, linked, "corp");
  await provider.signIn(other, "lovelace");
  await other.waitForURL(`${linked.url}/`);
  expect(await whoAmI(other, linked)).toBe(person.email);
  await other.context().close();
});

test("a sign-in at the provider that ends, ends what began with it", async ({ page, linked, provider }) => {
  await linked.setUp();
  await setOut(page, linked, "corp");
  await provider.signIn(page, "grace");
  await page.waitForURL(`${linked.url}/`);
  expect(await whoAmI(page, linked)).toBe("grace@corp.example");
  await provider.signOut(page);
  await expect.poll(() => whoAmI(page, linked)).toBeUndefined();
});

test("who says no at the provider reads so, and can go back", async ({ page, linked, provider }) => {
  await linked.setUp();
  await setOut(page, linked, "corp");
  await page.waitForURL(`${provider.issuer}/**`);
  await page.getByRole("link", { name: /cancel/i }).click();
  await page.waitForURL(`${linked.url}/sign-in/provider/corp/callback**`);
  await expect(page.getByRole("alert")).toContainText("Corp ID did not sign you in: access_denied");
  await expectAccessible(page);
  await page.getByRole("link", { name: "Back to the sign-in page" }).click();
  await page.waitForURL(`${linked.url}/sign-in`);
});
