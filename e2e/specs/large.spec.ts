// Large data in a real browser: it opens, it scrolls, and the last of it is
// there. How fast is said, and not judged: machines differ.

import type { Page, Route } from "@playwright/test";

import { expect, hydrated, test, type Workspace } from "../harness/test.ts";

// A recording would be what is measured.
test.use({ trace: "off" });

const SPANS = 100_000;
const LINES = 1_000_000;

/** A job that is real, and whose trace and log are answered here. */
async function job(workspace: Workspace): Promise<string> {
  const number = await workspace.pushNix(`{ tasks."it:works".exec = "echo fine"; }`);
  const run = await workspace.ended(number);
  return `/runs/${number}/${run.jobs[0]?.name}`;
}

const START = Date.parse("2026-01-01T00:00:00Z");
const id = (n: number) => n.toString(16).padStart(16, "0");

/** A job, a hundred tasks, and in each a thousand processes. */
function trace() {
  const at = (n: number) => new Date(START + n).toISOString();
  const span = (n: number, parent: number | undefined, kind: string, depth: number, from: number, to: number) => ({
    id: id(n),
    parent: parent === undefined ? undefined : id(parent),
    kind,
    name: depth === 2 ? `process ${n}` : `${kind} ${n}`,
    state: "success",
    started_at: at(from),
    finished_at: at(to),
    depth,
    lines: depth === 1 ? LINES / 100 : 0,
  });
  const spans = [span(1, undefined, "job", 0, 0, SPANS * 10)];
  for (let task = 0; task < 100; task += 1) {
    const first = 2 + task * 1000;
    spans.push(span(first, 1, "task", 1, task * 10_000, task * 10_000 + 9_990));
    for (let n = first + 1; n < first + 1000 && n <= SPANS; n += 1) {
      spans.push(span(n, first, "command", 2, n * 10, n * 10 + 8));
    }
  }
  return { spans, total: spans.length, seq: 1 };
}

function log(url: URL) {
  const from = Number(url.searchParams.get("from") ?? 1);
  const limit = Number(url.searchParams.get("limit") ?? 1000);
  const lines = [];
  for (let n = from; n < from + limit && n <= LINES; n += 1) {
    const span = id(2 + Math.floor((n - 1) / (LINES / 100)) * 1000);
    lines.push({ number: n, span, stream: "stdout", time: new Date(START + n).toISOString(), text: `line ${n} of many` });
  }
  return { lines, total: LINES, dropped: 0, seq: 1 };
}

/** Scrolls an element by that much in every frame; gives the time of each frame. */
function scroll(page: Page, selector: string, by: number, frames: number): Promise<number[]> {
  return page.evaluate(
    async ([selector, by, frames]) => {
      const element = document.querySelector(selector as string);
      if (!element) throw new Error(`no ${selector}`);
      const times: number[] = [];
      let last = performance.now();
      for (let n = 0; n < (frames as number); n += 1) {
        element.scrollTop += by as number;
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        times.push(now - last);
        last = now;
      }
      return times;
    },
    [selector, by, frames],
  );
}

/** Said in the report, for whoever compares. */
function say(what: string, times: number[]): void {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) => (sorted[Math.floor((sorted.length - 1) * share)] ?? 0).toFixed(1);
  console.log(`${what}: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, longest ${at(1)} ms`);
}

test("a trace of 100,000 spans opens and scrolls to its end", async ({ signedIn: page, workspace }) => {
  const path = await job(workspace);
  const body = JSON.stringify(trace());
  await page.route(/\/trace\?/, (route: Route) => route.fulfill({ contentType: "application/json", body }));
  // From the project's page, so that the browser and not the server asks for the trace.
  await page.goto(workspace.page(path.replace(/\/[^/]+$/, "")));
  await hydrated(page);
  const begun = Date.now();
  await page.locator(".job-card .row-link").click();
  await expect(page.locator(".wf-count")).toHaveText("100,000 spans");
  const names = page.locator(".wf-name");
  await expect(names.getByText("task 2", { exact: true })).toBeVisible();
  const own = await page.evaluate(() => {
    const answers = performance.getEntriesByType("resource").filter((entry) => entry.name.includes("/trace?"));
    return performance.now() - ((answers.at(-1) as PerformanceResourceTiming | undefined)?.responseEnd ?? 0);
  });
  console.log(`100,000 spans: the first row after ${Date.now() - begun} ms, ${Math.round(own)} ms after the answer`);
  say("100,000 spans, scrolling", await scroll(page, ".wf-scroll", 400, 120));
  expect(await page.locator(".wf-row").count(), "only what is in sight").toBeLessThan(200);
  await page.locator(".wf-scroll").evaluate((element) => element.scrollTo(0, element.scrollHeight));
  await expect(names.getByText(`process ${SPANS}`, { exact: true })).toBeVisible();

  // Search, and go to what was found.
  await page.getByRole("searchbox", { name: "Search spans" }).fill("process 77777");
  await expect(page.locator(".wf-count")).toHaveText("3 of 100,000 spans");
  await names.getByText("process 77777", { exact: true }).click();
  await expect(page.getByRole("heading", { name: "process 77777" })).toBeVisible();
  await page.getByRole("searchbox", { name: "Search spans" }).fill("");
  await expect(page.locator(".wf-count")).toHaveText("100,000 spans");
});

test("a log of a million lines opens and scrolls to its end", async ({ signedIn: page, workspace }) => {
  const path = await job(workspace);
  const body = JSON.stringify(trace());
  await page.route(/\/trace\?/, (route: Route) => route.fulfill({ contentType: "application/json", body }));
  await page.route(/\/log\?/, (route: Route) => route.fulfill({ json: log(new URL(route.request().url())) }));
  await page.goto(workspace.page(path.replace(/\/[^/]+$/, "")));
  await hydrated(page);
  await page.locator(".job-card .row-link").click();
  await expect(page.getByText("line 1 of many", { exact: true })).toBeVisible();
  await expect(page.locator(".log-count")).toContainText("1,000,000 lines");
  say("a million lines, scrolling", await scroll(page, ".log-scroll", 400, 120));
  say("a million lines, jumping", await scroll(page, ".log-scroll", 400_000, 30));
  expect(await page.locator(".log-row").count(), "only what is in sight").toBeLessThan(200);
  await page.locator(".log-scroll").evaluate((element) => element.scrollTo(0, element.scrollHeight));
  await expect(page.getByText(`line ${LINES} of many`, { exact: true })).toBeVisible();
  // The lines of another task say so.
  await expect(page.locator(".log-here")).toHaveText("task 99002");
});
