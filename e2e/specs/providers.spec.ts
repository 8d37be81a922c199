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

/** Posts a form from the page that is open. */
async function post(page: Page, path: string, fields: Record<string, string>): Promise<void> {
  await page.evaluate(
    ([path, fields]) => {
      const form = document.createElement("form");
      form.method = "post";
      form.action = path;
      for (const [key, value] of Object.entries(fields)) {
        const input = document.createElement("input");
        input.name = key;
        input.value = value;
        form.append(input);
      }
      document.body.append(form);
      form.submit();
    },
    [path, fields] as const,
  );
}

/** Posts what a provider's button posts. */
async function setOut(page: Page, server: Server, name: string, fields: Record<string, string> = {}): Promise<void> {
  // Where sessions are linked it is begun by somebody who is signed in, who is sent on from there.
  await page.goto(`${server.url}/${fields.link ? "account" : "sign-in"}`);
  await post(page, `/sign-in/provider/${name}`, fields);
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
  await post(page, "/sign-in/password", { password: person.password });
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
  await setOut(page, linked, "corp", { link: "yes" });
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
