// Every page, as people see it, with nothing on the browser's console.

import type { Page } from "@playwright/test";

import { look } from "../harness/look.ts";
import { expect, hydrated, test, type Workspace } from "../harness/test.ts";

async function visit(page: Page, path: string, name: string, status = 200): Promise<void> {
  const answer = await page.goto(path);
  expect(answer?.status(), path).toBe(status);
  await hydrated(page);
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  expect(await page.title()).not.toBe("");
  await look(page, name);
}

test.describe("for strangers", () => {
  test("sign-in", async ({ page, person }) => {
    expect(person.email).toBeTruthy();
    await visit(page, "/sign-in", "sign-in");
    await page.getByLabel("E-mail").fill("somebody.with.a.very.long.address.indeed@subdomain.of.example.org");
    await page.getByRole("button", { name: "Continue" }).click();
    await expect(page.getByLabel("Password")).toBeVisible();
    await hydrated(page);
    await look(page, "sign-in-password");
  });

  test("a forgotten password", async ({ page, person }) => {
    expect(person.email).toBeTruthy();
    await visit(page, "/reset", "reset");
    await visit(page, "/reset?sent=1", "reset-sent");
    await visit(page, "/reset?token=none&problem=invalid-token", "reset-token");
    await visit(page, "/reset?done=1", "reset-done");
  });

  test("set-up", async ({ page, startServer }) => {
    const server = await startServer();
    await visit(page, server.setupUrl, "setup");
  });
});

test.describe("with nothing yet", () => {
  test("home, project", async ({ page, startServer }) => {
    const server = await startServer();
    const person = await server.setUp();
    const { signIn, createWorkspace } = await import("../harness/test.ts");
    await signIn(page, server.url, person);
    await visit(page, `${server.url}/`, "home-empty");
    const workspace = await createWorkspace(person);
    await visit(page, server.url + workspace.page(), "project-empty");
    await expect(page.getByText(workspace.project.clone_url).first()).toBeVisible();
  });
});

test.describe("with people", () => {
  const address = "somebody.with.a.very.long.address.indeed@subdomain.of.example.org";

  test("activity, audit log, people, mail, security", async ({ page, startServer }) => {
    const server = await startServer();
    const person = await server.setUp();
    const { signIn } = await import("../harness/test.ts");
    await signIn(page, server.url, person);
    await person.api.post("/orgs", { slug: "engines", display_name: "Analytical Engines" });
    for (const [path, body] of [
      ["/orgs/engines/invitations", { email: address, role: "viewer" }],
      ["/instance/invitations", { email: address }],
      ["/session", { email: address, password: "not the password" }],
    ] as const) {
      // The last one is refused, for the log.
      await person.session.raw("POST", path, body);
    }
    const state = async () => (await person.session.get("/instance/mails")).items.map((mail: any) => mail.state);
    await expect.poll(state).toEqual(["written", "written"]);
    await visit(page, `${server.url}/account`, "account-address");
    await visit(page, `${server.url}/account/activity`, "account-activity");
    await visit(page, `${server.url}/engines/-/members`, "members-invitations");
    await visit(page, `${server.url}/engines/-/audit`, "organisation-audit");
    await visit(page, `${server.url}/engines/-/security`, "organisation-security");
    await visit(page, `${server.url}/instance/people`, "instance-people");
    await visit(page, `${server.url}/instance/audit`, "instance-audit");
    await visit(page, `${server.url}/instance/audit?text=nothing-like-this`, "instance-audit-empty");
    await visit(page, `${server.url}/instance/security`, "instance-security");
    await visit(page, `${server.url}/instance/mail`, "instance-mail");
    await page.getByRole("list", { name: "Mails" }).getByRole("link").first().click();
    await expect(page.getByRole("region", { name: "The mail" })).toBeVisible();
    await look(page, "instance-mail-open");
    const text = await page.getByRole("region", { name: "The mail" }).innerText();
    await page.context().clearCookies();
    await visit(page, /http\S+\/invitation\?token=\S+/.exec(text)?.[0] ?? "", "invitation");
    await visit(page, `${server.url}/invitation?token=none`, "invitation-dead");
  });
});

test.describe("with runs", () => {
  const expectedNotFound = /404/;

  test("home, organisation, project, account, settings", async ({ signedIn: page, workspace, person }) => {
    const number = await workspace.pushDirectory("examples/hello");
    await workspace.ended(number);
    await person.api.post(`/orgs/${workspace.project.org}/projects`, {
      slug: "a-project-with-a-very-long-name-that-does-not-fit-on-a-telepho".slice(0, 39),
      description: "A description that goes on and on ".repeat(5).trim(),
    }).catch(() => {});
    await visit(page, "/", "home");
    await visit(page, `/${workspace.project.org}`, "organisation");
    await visit(page, `/${workspace.project.org}/-/members`, "members");
    await visit(page, `/${workspace.project.org}/-/runners`, "runners");
    await visit(page, workspace.page(), "project");
    await visit(page, "/account", "account");
    await visit(page, "/account/security", "account-security");
    await visit(page, "/account/sessions", "account-sessions");
    await visit(page, "/account/tokens", "account-tokens");
    await visit(page, workspace.page("/settings"), "settings");
  });

  test("a run and a job that succeeded", async ({ signedIn: page, workspace }) => {
    const number = await workspace.pushDirectory("examples/hello");
    const run = await workspace.ended(number);
    await visit(page, workspace.page(`/runs/${number}`), "run-success");
    await visit(page, workspace.page(`/runs/${number}/${run.jobs[0]?.name}`), "job-success");
  });

  test("a run and a job that failed", async ({ signedIn: page, workspace }) => {
    const number = await workspace.pushDirectory("e2e/fixtures/projects/failing-task");
    const run = await workspace.ended(number);
    await visit(page, workspace.page(`/runs/${number}`), "run-failure");
    await visit(page, workspace.page(`/runs/${number}/${run.jobs[0]?.name}`), "job-failure");
  });

  test("a syntax error is the first thing on the page", async ({ signedIn: page, workspace }) => {
    const number = await workspace.pushDirectory("e2e/fixtures/projects/syntax-error");
    const run = await workspace.ended(number);
    for (const path of [`/runs/${number}`, `/runs/${number}/${run.jobs[0]?.name}`]) {
      await visit(page, workspace.page(path), path.endsWith(String(number)) ? "run-syntax-error" : "job-syntax-error");
      const main = page.getByRole("main");
      await expect(main).toContainText("devenv.nix:5");
      await expect(main).toContainText("syntax error");
    }
  });

  test.describe("what is not there", () => {
    test.use({ expectedMessages: [expectedNotFound] });

    test("not found", async ({ signedIn: page }) => {
      await visit(page, "/no-such-organisation", "not-found", 404);
    });
  });
});

/** Presses the keys that the help lists, and sees that they do what it says. */
test("the keyboard is enough", async ({ signedIn: page, workspace }: { signedIn: Page; workspace: Workspace }) => {
  await page.goto(workspace.page());
  await hydrated(page);
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toBeHidden();
  await page.keyboard.press("Tab");
  const focused = page.locator(":focus-visible");
  await expect(focused).toHaveCount(1);
});

test("what the browser downloads is small, compressed ahead of time and kept for ever", async ({ page, server }) => {
  const sizes = new Map<string, number>();
  page.on("response", async (response) => {
    const { pathname } = new URL(response.url());
    if (!pathname.startsWith("/assets/")) return;
    const headers = await response.allHeaders();
    expect(headers["cache-control"], pathname).toContain("immutable");
    expect(headers["content-encoding"], pathname).toMatch(/^(br|gzip)$/);
    sizes.set(pathname, (await response.request().sizes()).responseBodySize);
  });
  await page.goto(`${server.url}/sign-in`, { waitUntil: "networkidle" });
  await hydrated(page);
  const wasm = [...sizes].find(([path]) => path.endsWith(".wasm"));
  // ui.md's aim is 400 KiB; this keeps what is left of the way from growing. Another compiler gives a little more or less.
  expect(wasm?.[1], "the module, compressed").toBeLessThanOrEqual(560 * 1024);
});
