// Search over everything, by keyboard and by mouse.

import { expect, expectAccessible, hydrated, test } from "../harness/test.ts";

test("Ctrl+K finds organisations, projects, runs and pages", async ({ signedIn: page, workspace }) => {
  await workspace.git.must("checkout", "--quiet", "-b", "fix/search");
  const number = await workspace.pushNix(`{ tasks."it:works".exec = "echo fine"; }`);
  const run = await workspace.ended(number);
  await page.goto(workspace.page());
  await hydrated(page);
  const dialog = page.getByRole("dialog", { name: "Search everything" });
  const field = dialog.getByRole("combobox");
  const options = dialog.getByRole("option");
  const chosen = dialog.getByRole("option", { selected: true });

  await page.keyboard.press("Control+k");
  await expect(field).toBeFocused();
  await expect(chosen).toContainText(`#${number}`);
  await expectAccessible(page);
  await page.keyboard.press("Tab");
  await expect(field).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(dialog).toBeHidden();

  // A run by its branch, by its commit, by its number.
  for (const text of ["fix/", run.commit.sha.slice(0, 7), `#${number}`]) {
    await page.keyboard.press("Control+k");
    await field.fill(text);
    await expect(chosen).toContainText("fix/search");
    await expect(chosen).toContainText("run");
    await page.keyboard.press("Enter");
    await expect(page).toHaveURL(workspace.page(`/runs/${number}`));
    await expect(dialog).toBeHidden();
    await page.goBack();
    await expect(page).toHaveURL(workspace.page());
  }

  // A project from anywhere; with the arrow keys.
  await page.goto("/account");
  await hydrated(page);
  await page.keyboard.press("/");
  await field.fill(workspace.project.slug);
  await expect(options).toHaveCount(1);
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(workspace.page());
  await page.keyboard.press("Control+k");
  await field.fill("of " + workspace.project.slug);
  await expect(options).toHaveText([/^Runs of/, /^Settings of/]);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await expect(chosen).toContainText("Settings of");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(workspace.page("/settings/general"));

  // Nothing, in words; and by mouse.
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await field.fill("zebra%_");
  await expect(options).toHaveCount(0);
  await expect(dialog.getByRole("status")).toContainText("Nothing found");
  await field.fill("account");
  await options.getByText("Account", { exact: true }).click();
  await expect(page).toHaveURL("/account");

  // The list of keys says so.
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog", { name: "Keys" })).toContainText("search everything");
});

test("`/` searches where the reader is", async ({ signedIn: page, workspace }) => {
  const number = await workspace.pushNix(`{ tasks."it:works".exec = "echo fine"; }`);
  const run = await workspace.ended(number);
  await page.goto(workspace.page(`/runs/${number}/${run.jobs[0]?.name}`));
  await hydrated(page);
  await page.keyboard.press("t");
  await page.keyboard.press("/");
  await expect(page.getByRole("searchbox", { name: "Search spans" })).toBeFocused();
  await page.getByRole("region", { name: "Lines" }).focus();
  await page.keyboard.press("/");
  await expect(page.getByRole("searchbox", { name: "Search the log" })).toBeFocused();
  await page.getByRole("link", { name: "Skip to content" }).focus();
  await page.keyboard.press("/");
  await expect(page.getByRole("dialog", { name: "Search everything" })).toBeVisible();
});
