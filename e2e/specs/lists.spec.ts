// Lists that live: runs and states move by themselves, and never under the reader.

import { expect, hydrated, test } from "../harness/test.ts";

const SLOWLY = `{ tasks."it:slow".exec = "echo begun; sleep 3; echo done"; }`;

test("the runs of a project move by themselves", async ({ signedIn: page, workspace }) => {
  await page.goto(workspace.page());
  await hydrated(page);
  const loaded = await page.evaluate(() => performance.timeOrigin);
  const rows = page.getByRole("list", { name: "Runs" }).getByRole("listitem");
  await expect(page.getByText("Nothing was pushed yet")).toBeVisible();

  // The first run takes the place of the first steps.
  const first = await workspace.pushNix(SLOWLY);
  await expect(rows).toHaveCount(1);
  await expect(rows.first()).toContainText("running", { timeout: 60_000 });
  await expect(rows.first()).toContainText("success", { timeout: 60_000 });

  // The next one comes in above it.
  const second = await workspace.pushNix(SLOWLY + "\n");
  await expect(rows).toHaveCount(2);
  await expect(rows.first()).toContainText(`#${second}`);

  // Not while the reader is about to use the list.
  await rows.first().getByRole("link").focus();
  const third = await workspace.pushNix(SLOWLY + "\n\n");
  const show = page.getByRole("button", { name: "Show 1 new run" });
  await expect(show).toBeVisible();
  await expect(rows).toHaveCount(2);
  await expect(rows.first().getByRole("link")).toBeFocused();
  await show.press("Enter");
  await expect(rows).toHaveCount(3);
  await expect(rows.first()).toContainText(`#${third}`);
  await workspace.ended(third);
  await expect(rows.first()).toContainText("success");
  await expect(rows.last()).toContainText(`#${first}`);
  expect(await page.evaluate(() => performance.timeOrigin), "the page was never loaded again").toBe(loaded);
});

test("the newest runs on home and organisation move by themselves", async ({ signedIn: page, workspace, context }) => {
  const name = workspace.project.slug;
  for (const path of ["/", `/${workspace.project.org}`]) {
    await page.goto(path);
    await hydrated(page);
    const row = page.getByRole("list", { name: "Projects" }).getByRole("listitem").filter({ hasText: name });
    const number = await workspace.pushNix(`${SLOWLY}\n# ${path}`);
    await expect(row.locator(`a[href$="/runs/${number}"]`)).toBeVisible();
    await expect(row).toContainText("running", { timeout: 60_000 });
    // A connection that breaks is made again, and what was missed is told.
    await context.setOffline(true);
    await workspace.ended(number);
    await context.setOffline(false);
    await expect(row).toContainText("success");
  }
});

test("a tab that nobody sees gives its connection back", async ({ signedIn: page, workspace }) => {
  await workspace.ended(await workspace.pushNix(SLOWLY));
  let streams = 0;
  page.on("request", (request) => (streams += request.url().endsWith("/events") ? 1 : 0));
  const closed = page.waitForEvent("requestfailed", (request) => request.url().endsWith("/events"));
  await page.goto(workspace.page());
  await hydrated(page);
  const see = (hidden: boolean) =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
    }, hidden);
  await expect.poll(() => streams).toBe(1);
  await see(true);
  await closed;
  const number = await workspace.pushNix(SLOWLY + "\n");
  await workspace.ended(number);
  const rows = page.getByRole("list", { name: "Runs" }).getByRole("listitem");
  await expect(rows).toHaveCount(1);
  await see(false);
  await expect(rows).toHaveCount(2);
  await expect(rows.first()).toContainText("success");
  expect(streams).toBe(2);
});

test("a filtered list keeps to its filter", async ({ signedIn: page, workspace }) => {
  const first = await workspace.pushNix(SLOWLY);
  await workspace.ended(first);
  await page.goto(workspace.page("?branch=main"));
  await hydrated(page);
  const rows = page.getByRole("list", { name: "Runs" }).getByRole("listitem");
  await expect(rows).toHaveCount(1);
  await workspace.git.must("checkout", "--quiet", "-b", "other");
  const other = await workspace.pushNix(SLOWLY + "\n");
  await workspace.git.must("checkout", "--quiet", "main");
  const main = await workspace.pushNix(SLOWLY + "\n\n");
  await expect(rows).toHaveCount(2);
  await expect(rows.first()).toContainText(`#${main}`);
  await workspace.ended(other);
  await workspace.ended(main);
  await expect(rows).toHaveCount(2);
});
