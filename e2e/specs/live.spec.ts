// A run as it happens, in the browser, without a reload.

import { expect, hydrated, test } from "../harness/test.ts";

/** Says a line, waits for a file that never comes, until the machine has shown it. */
const SLOWLY = `{
  tasks."it:first".exec = "echo first line; sleep 4; echo second line";
  tasks."it:second" = { exec = "echo third line; sleep 2"; after = [ "it:first" ]; };
}`;

test("push → queued → running → success, and the log line by line", async ({ signedIn: page, workspace }) => {
  await page.goto(workspace.page());
  await hydrated(page);
  const number = await workspace.pushNix(SLOWLY);
  const job = await workspace.job(number);

  await page.goto(workspace.page(`/runs/${number}/${job.name}`));
  await hydrated(page);
  const loaded = await page.evaluate(() => performance.timeOrigin);
  const main = page.getByRole("main");
  await expect(main.getByText("first line", { exact: true }).first()).toBeVisible({ timeout: 60_000 });
  await expect(main.getByText("second line", { exact: true })).toHaveCount(0);
  await expect(main.getByText(/running/i).first()).toBeVisible();
  await expect(main.getByText("second line", { exact: true }).first()).toBeVisible();
  await expect(main.getByText("it:second").first()).toBeVisible();
  await expect(main.getByText(/success/i).first()).toBeVisible();
  expect(await page.evaluate(() => performance.timeOrigin), "the page was never loaded again").toBe(loaded);
});

test.describe(() => {
  // The page may be about to ask for what is new when there is no network any more.
  test.use({ expectedMessages: [/ERR_INTERNET_DISCONNECTED/] });

  test("a stream that broke goes on where it was", async ({ signedIn: page, workspace, context }) => {
    const number = await workspace.pushNix(SLOWLY);
    const job = await workspace.job(number);
    await page.goto(workspace.page(`/runs/${number}/${job.name}`));
    await hydrated(page);
    const main = page.getByRole("main");
    await expect(main.getByText("first line", { exact: true }).first()).toBeVisible({ timeout: 60_000 });
    await context.setOffline(true);
    await workspace.ended(number);
    await context.setOffline(false);
    await expect(main.getByText("third line", { exact: true }).first()).toBeVisible();
    await expect(main.getByText("first line", { exact: true })).toHaveCount(1);
  });
});
