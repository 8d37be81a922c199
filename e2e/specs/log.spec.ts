// The log: found, counted, linked to.

import { expect, expectAccessible, hydrated, test, type Workspace } from "../harness/test.ts";

/** 3000 lines, every 25th of which has the word, now and then in colours. */
const LONG = `{
  tasks."it:long".exec = ''
    for i in $(seq 1 3000); do
      if (( i % 50 == 0 )); then printf 'line %d \\033[31mNee\\033[0mdle\\n' "$i"
      elif (( i % 25 == 0 )); then echo "line $i needle"
      else echo "line $i hay"; fi
    done
  '';
}`;

async function longLog(workspace: Workspace): Promise<string> {
  const number = await workspace.pushNix(LONG);
  const run = await workspace.ended(number);
  expect(run.state, run.reason).toBe("success");
  return workspace.page(`/runs/${number}/${run.jobs[0]?.name}`);
}

test("the whole log is searched, by keyboard", async ({ signedIn: page, workspace }) => {
  const path = await longLog(workspace);
  await page.goto(`${path}?view=log`);
  await hydrated(page);
  const log = page.getByRole("region", { name: "Lines" });
  const field = page.getByRole("searchbox", { name: "Search the log" });
  const status = page.locator(".log-matches");
  const shown = page.locator(".log-row.found");

  await page.keyboard.press("l");
  await expect(log).toBeFocused();
  await page.keyboard.press("/");
  await expect(field).toBeFocused();
  await page.keyboard.type("NEEDLE");
  await expect(status).toHaveText("1 of 120");
  await expect(shown).toContainText("line 25 needle");
  await expect(shown).toBeInViewport();
  await expect(shown.locator("mark")).toHaveText("needle");
  await page.keyboard.press("Enter");
  await expect(status).toHaveText("2 of 120");
  await expect(shown.locator("mark")).toHaveText(["Nee", "dle"]);
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.press("Shift+Enter");
  await expect(status).toHaveText("120 of 120");
  await expect(shown).toContainText("line 3000");
  await expect(shown).toBeInViewport();
  await expectAccessible(page);

  // In the log itself, one letter is enough.
  await log.focus();
  await page.keyboard.press("n");
  await expect(status).toHaveText("1 of 120");
  await page.keyboard.press("N");
  await expect(status).toHaveText("120 of 120");
  await expect(shown).toBeInViewport();

  // Also where lines are wrapped, and flow.
  await page.keyboard.press("w");
  await page.keyboard.press("n");
  await page.keyboard.press("n");
  await expect(status).toHaveText("2 of 120");
  await expect(shown).toContainText("line 50");
  await expect(shown).toBeInViewport();
  await page.keyboard.press("w");

  await field.fill("nothing like that");
  await expect(status).toHaveText("no match");
  await page.keyboard.press("Escape");
  await expect(log).toBeFocused();
  await expect(field).toHaveValue("");
  await expect(status).toHaveText("");
  await expect(page.locator(".log-row mark")).toHaveCount(0);
});

test("a link to lines stays one, also while searching", async ({ signedIn: page, workspace }) => {
  const path = await longLog(workspace);
  await page.goto(`${path}?span=all&view=log#L1501-L1503`);
  await hydrated(page);
  await expect(page.locator(".log-row.marked")).toHaveCount(3);
  await expect(page.locator(".log-row.marked").first()).toBeInViewport();
  await page.getByRole("searchbox", { name: "Search the log" }).fill("needle");
  const status = page.locator(".log-matches");
  await expect(status).toHaveText(/^\d+ of 120$/);
  // It begins with what comes next, not with the first of all.
  const [, at] = /^(\d+) of/.exec((await status.textContent()) ?? "") ?? [];
  expect(Number(at)).toBeGreaterThan(50);
  expect(new URL(page.url()).hash).toBe("#L1501-L1503");
});

test("what is written meanwhile is counted too", async ({ signedIn: page, workspace }) => {
  const number = await workspace.pushNix(`{
    tasks."it:slow".exec = "echo needle one; sleep 6; echo needle two; sleep 2; echo done";
  }`);
  const job = await workspace.job(number);
  await page.goto(workspace.page(`/runs/${number}/${job.name}?view=log&span=all`));
  await hydrated(page);
  await expect(page.getByText("needle one", { exact: true }).first()).toBeVisible({ timeout: 60_000 });
  await page.getByRole("searchbox", { name: "Search the log" }).fill("needle");
  const status = page.locator(".log-matches");
  await expect(status).toHaveText("1 of 1");
  await expect(status).toHaveText("1 of 2");
  await workspace.ended(number);
});
