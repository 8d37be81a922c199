// Jobs that are executed by another process than the server: with the server's
// own executor off, nothing else could have done them.

import { createWorkspace, expect, expectAccessible, hydrated, signIn, test, type Workspace } from "../harness/test.ts";
import { Runner } from "../harness/runner.ts";
import type { Person, Server } from "../harness/server.ts";

const WITHOUT_EXECUTOR = { environment: { DEVENV_CLOUD_EXECUTOR_ENABLED: "false" } };

/** Says something, then works for a while: long enough to be interrupted. */
const TALKS_THEN_WORKS = `{
  tasks."it:works".exec = ''
    for i in $(seq 1 200); do echo "line $i"; done
    echo ready
    sleep 8
    for i in $(seq 201 400); do echo "line $i"; done
  '';
}`;

async function registrationToken(workspace: Workspace): Promise<string> {
  const made = await workspace.api.post(`/orgs/${workspace.project.org}/runner-tokens`);
  expect(made.command).toContain(`devenv-cloud runner --server ${workspace.api.url} --token ${made.secret}`);
  return made.secret;
}

interface Scene {
  server: Server;
  person: Person;
  workspace: Workspace;
  runner: Runner;
}

const scene = test.extend<{ scene: Scene }>({
  scene: async ({ startServer }, use, info) => {
    const server = await startServer(WITHOUT_EXECUTOR);
    const person = await server.setUp();
    const workspace = await createWorkspace(person);
    const runner = new Runner(server.url, ["--name", "builder-1"]);
    await runner.start(await registrationToken(workspace));
    await use({ server, person, workspace, runner });
    if (info.status !== info.expectedStatus) {
      await info.attach("runner.log", { body: runner.log(), contentType: "text/plain" });
    }
    await runner.remove();
    workspace.git.remove();
  },
});

scene("a job is executed by a runner, and the pages show it", async ({ scene, page }) => {
  const { server, person, workspace } = scene;
  const number = await workspace.pushNix(TALKS_THEN_WORKS);
  await workspace.untilLine(number, /^ready$/);
  expect(server.machines(), "the server has no machines").toHaveLength(0);

  await signIn(page, server.url, person);
  await page.goto(`${server.url}/${workspace.project.org}/-/runners`);
  await hydrated(page);
  const row = page.getByRole("listitem").filter({ hasText: "builder-1" });
  await expect(row).toContainText("online");
  await expect(row).toContainText("1 of");
  await expect(row.getByRole("link")).toHaveAttribute("href", new RegExp(`/runs/${number}/x86_64-linux$`));
  await expectAccessible(page);

  const run = await workspace.ended(number);
  expect(run.state, JSON.stringify(run, null, 1)).toBe("success");
  const text = await workspace.text(number);
  for (let line = 1; line <= 400; line += 1) expect(text).toContain(`line ${line}\n`);
  // The page follows by itself.
  await expect(row).toContainText("waiting for work", { timeout: 15_000 });
  await page.goto(`${server.url}${workspace.page(`/runs/${number}/x86_64-linux`)}`);
  await expect(page.getByText("on builder-1")).toBeVisible();
});

scene("kill -9 of the runner during a job: an error, and one more attempt when it is back", async ({ scene }) => {
  const { workspace, runner } = scene;
  const number = await workspace.pushNix(TALKS_THEN_WORKS);
  const lines = await workspace.untilLine(number, /^ready$/);
  await runner.kill();
  // It needs no token any more.
  await runner.start();
  const run = await workspace.ended(number);
  const [first, second] = run.jobs[0]?.attempts ?? [];
  expect(first?.state, JSON.stringify(run, null, 1)).toBe("error");
  expect(first?.reason).toMatch(/runner restarted/);
  expect(second?.state, `${JSON.stringify(run, null, 1)}\n${runner.log()}`).toBe("success");
  const kept = await workspace.text(number, 1);
  for (const line of lines) expect(kept).toContain(line.text);
});

scene("a restart of the server during a job: the job goes on, and no line is lost", async ({ scene }) => {
  const { server, workspace, runner } = scene;
  const number = await workspace.pushNix(TALKS_THEN_WORKS);
  await workspace.untilLine(number, /^ready$/);
  await server.kill();
  await server.start();
  const run = await workspace.ended(number);
  expect(run.state, `${JSON.stringify(run, null, 1)}\n${runner.log()}`).toBe("success");
  expect(run.jobs[0]?.attempts).toHaveLength(1);
  const text = await workspace.text(number);
  for (let line = 1; line <= 400; line += 1) expect(text.split(`line ${line}\n`)).toHaveLength(2);
});

scene("SIGTERM drains: the job ends, then the runner", async ({ scene }) => {
  const { workspace, runner } = scene;
  const number = await workspace.pushNix(TALKS_THEN_WORKS);
  await workspace.untilLine(number, /^ready$/);
  runner.signal("SIGTERM");
  await runner.says(/nothing new is taken/);
  expect(await runner.ended()).toBe(0);
  const run = await workspace.ended(number);
  expect(run.state).toBe("success");
  const [shown] = (await workspace.api.get(`/orgs/${workspace.project.org}/runners`)).items;
  expect(shown.state).toBe("offline");
});

scene("revoking a runner ends its job and the runner; another one does the job", async ({ scene, page }) => {
  const { server, person, workspace, runner } = scene;
  const number = await workspace.pushNix(TALKS_THEN_WORKS);
  await workspace.untilLine(number, /^ready$/);
  await signIn(page, server.url, person);
  await page.goto(`${server.url}/${workspace.project.org}/-/runners`);
  await hydrated(page);
  await page.getByRole("button", { name: "Revoke builder-1" }).click();
  await expect(page.getByText("The job that it runs ends with an error")).toBeVisible();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Revoke for good" }).click();
  await expect(page.getByRole("heading", { name: "No runners yet" })).toBeVisible();
  expect(await runner.ended()).toBe(1);
  expect(runner.log()).toContain("register with a new token");

  // The command for the next one, from the page.
  await page.getByText("Add a runner", { exact: true }).click();
  await page.getByRole("button", { name: "Create the command" }).click();
  const command = await page.locator(".new-token pre").innerText();
  const token = /--token (dvreg_\w+)/.exec(command)?.[1];
  const other = new Runner(server.url, ["--name", "builder-2"]);
  await other.start(token);
  await expect(page.getByRole("listitem").filter({ hasText: "builder-2" })).toBeVisible({ timeout: 15_000 });
  const run = await workspace.ended(number);
  expect(run.jobs[0]?.attempts.map((attempt) => attempt.state)).toEqual(["error", "success"]);
  await other.remove();
});

test("a runner that cannot register says why", async ({ startServer }) => {
  const server = await startServer(WITHOUT_EXECUTOR);
  const workspace = await createWorkspace(await server.setUp());
  for (const [token, words] of [
    [undefined, /Create a registration token/],
    ["dvreg_wrong", /none of this server's/],
  ] as const) {
    const runner = new Runner(server.url);
    runner.launch(token);
    expect(await runner.ended()).toBe(1);
    await runner.says(words);
    await runner.remove();
  }
  workspace.git.remove();
});
