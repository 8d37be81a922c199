// Getting in and out, with JavaScript and without.

import { expect, expectAccessible, hydrated, test } from "../harness/test.ts";

test("the set-up link makes the first person, once", async ({ page, startServer }) => {
  const server = await startServer();
  await page.goto(server.url);
  expect(page.url(), "nobody can sign in yet").toContain("/setup");
  await page.goto(server.setupUrl);
  await expectAccessible(page);
  await page.getByLabel("Name").fill("Grace Hopper");
  await page.getByLabel("E-mail").fill("grace@example.org");
  await page.getByLabel("Password", { exact: true }).fill("a long and quiet compiler");
  await page.getByRole("button", { name: /create/i }).click();
  await page.waitForURL((url) => !url.pathname.startsWith("/setup"));
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();

  const again = await page.request.get(server.setupUrl);
  expect(await again.text()).not.toContain('name="password"');
});

for (const javaScriptEnabled of [true, false]) {
  test.describe(javaScriptEnabled ? "with JavaScript" : "without JavaScript", () => {
    test.use({ javaScriptEnabled });

    test("sign in, see the page one came for, sign out", async ({ page, person, workspace }) => {
      await page.goto(workspace.page());
      expect(new URL(page.url()).pathname).toBe("/sign-in");
      if (javaScriptEnabled) await hydrated(page);
      await page.getByLabel("E-mail").fill(person.email);
      await page.getByRole("button", { name: "Continue" }).click();
      await page.getByLabel("Password").fill(person.password);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.waitForURL(`**${workspace.page()}`);
      await expect(page.getByRole("heading", { level: 1 })).toContainText(workspace.project.slug);

      // The menu is a `details` element: it opens without JavaScript.
      await page.locator("header summary").last().click();
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.waitForURL("**/sign-in**");
      await page.goto("/account");
      expect(new URL(page.url()).pathname).toBe("/sign-in");
    });

    test("a wrong password and an unknown person look the same", async ({ page, person }) => {
      const words = [];
      for (const email of [person.email, "nobody@example.org"]) {
        await page.goto("/sign-in");
        if (javaScriptEnabled) await hydrated(page);
        await page.getByLabel("E-mail").fill(email);
        await page.getByRole("button", { name: "Continue" }).click();
        // Nothing is told of either: not before the password, and not by it.
        await expect(page.getByText(email)).toBeVisible();
        words.push((await page.getByRole("main").innerText()).replace(email, "…"));
        await page.getByLabel("Password").fill("not the password");
        await page.getByRole("button", { name: "Sign in" }).click();
        const alert = page.getByRole("alert");
        await expect(alert).toBeVisible();
        words.push(await alert.innerText());
        await page.getByRole("button", { name: "Not you?" }).click();
        await expect(page.getByRole("button", { name: "Continue" })).toBeVisible();
      }
      expect(words.slice(0, 2)).toEqual(words.slice(2));
    });

    test("a run and its log can be read", async ({ signedIn: page, workspace }) => {
      const number = await workspace.pushDirectory("examples/hello");
      const run = await workspace.ended(number);
      const text = await workspace.text(number);
      await page.goto(workspace.page(`/runs/${number}/${run.jobs[0]?.name}`));
      const line = text.split("\n").find((line) => line.trim().length > 8) ?? "";
      await expect(page.getByText(line.trim()).first()).toBeVisible();
    });
  });
}

test("the session's cookie is out of reach for scripts and other sites", async ({ signedIn: page }) => {
  const [cookie, ...others] = await page.context().cookies();
  expect(others).toEqual([]);
  expect(cookie).toMatchObject({ httpOnly: true, sameSite: "Lax", path: "/" });
});
