// Projects that go wrong end with the right outcome and a reason that a person
// can act on, and the server goes on.

import { type Attempt, type Run } from "../harness/api.ts";
import { createWorkspace, expect, test, type Workspace } from "../harness/test.ts";

const FIXTURES = "e2e/fixtures/projects";

async function outcome(workspace: Workspace, name: string): Promise<{ run: Run; attempt: Attempt; text: string }> {
  const number = await workspace.pushDirectory(`${FIXTURES}/${name}`);
  const run = await workspace.ended(number);
  const attempt = run.jobs[0]?.attempts.at(-1);
  if (!attempt) throw new Error(`run ${number} has no attempt: ${JSON.stringify(run)}`);
  return { run, attempt, text: await workspace.text(number) };
}

/** Everything a person reads first. */
function reasons({ run, attempt }: { run: Run; attempt: Attempt }): string {
  return [run.reason, attempt.reason, ...attempt.annotations.map((note) => note.message)].filter(Boolean).join("\n");
}

test("no devenv.nix: skipped, with what to add", async ({ workspace }) => {
  const number = await workspace.pushDirectory(`${FIXTURES}/no-devenv-nix`);
  const run = await workspace.ended(number);
  expect(run.state).toBe("skip");
  expect(`${run.reason} ${run.jobs[0]?.attempts[0]?.reason}`).toContain("devenv.nix");
});

for (const [name, message, line] of [
  ["syntax-error", /syntax error/, 5],
  ["type-error", /is not of type/, 5],
  ["unknown-option", /taks.*does not exist/s, 5],
] as const) {
  test(`${name}: message, file and line come first`, async ({ workspace }) => {
    const result = await outcome(workspace, name);
    expect(result.run.state).toBe("failure");
    const first = result.attempt.annotations[0];
    expect(first?.message).toMatch(message);
    expect(first?.file).toBe("devenv.nix");
    expect(first?.line).toBe(line);
    const evaluate = result.attempt.stages.find((stage) => stage.stage === "evaluate");
    expect(evaluate?.state).toBe("failure");
  });
}

test("a cycle of tasks is named", async ({ workspace }) => {
  const result = await outcome(workspace, "cycle");
  expect(result.run.state).toBe("failure");
  for (const task of ["app:a", "app:b", "app:c"]) expect(reasons(result)).toContain(task);
});

test("packages that the image lacks are named", async ({ workspace }) => {
  const result = await outcome(workspace, "missing-package");
  expect(result.run.state).toBe("failure");
  expect(reasons(result)).toContain("postgresql");
});

test("a failing task: its exit status, and what depends on it is skipped", async ({ workspace }) => {
  const { run, attempt } = await outcome(workspace, "failing-task");
  expect(run.state).toBe("failure");
  const stage = (name: string) => attempt.stages.find((stage) => stage.name.includes(name));
  expect(stage("app:breaks")?.state).toBe("failure");
  expect(stage("app:breaks")?.exit_status).toBe(3);
  expect(stage("app:aside")?.state).toBe("success");
  expect(stage("app:after-it")?.state ?? "skip").toBe("skip");
});

test("a failing enterTest fails the run", async ({ workspace }) => {
  expect((await outcome(workspace, "failing-test")).run.state).toBe("failure");
});

test("a process left behind does not hold the job", async ({ workspace }) => {
  expect((await outcome(workspace, "background-process")).run.state).toBe("success");
});

test("a million lines are all kept, in order", async ({ workspace }) => {
  test.slow();
  const { run, text } = await outcome(workspace, "many-lines");
  expect(run.state, run.reason).toBe("success");
  let last = 0;
  for (const [, number] of text.matchAll(/^.*line (\d+) of a long log$/gm)) {
    if (Number(number) === last + 1) last += 1;
  }
  expect(last, "the last of an unbroken series").toBe(1_000_000);
});

test("no newline at the end, and one enormous line", async ({ workspace }) => {
  const { run, text } = await outcome(workspace, "no-newline");
  expect(run.state, text.slice(-500)).toBe("success");
  expect(text).toContain("the last words");
});

test("bytes that are no UTF-8 are shown as such", async ({ workspace }) => {
  const { run, text } = await outcome(workspace, "invalid-utf8");
  expect(run.state).toBe("success");
  expect(text).toContain("\u{FFFD}");
});

test("a fork bomb ends by itself, and the next run is fine", async ({ person }) => {
  const workspace = await createWorkspace(person, { timeout_minutes: 1 });
  const result = await outcome(workspace, "fork-bomb");
  expect(["failure", "timeout"]).toContain(result.run.state);
  expect(reasons(result)).not.toBe("");
  const after = await workspace.ended(await workspace.pushNix(`{ tasks."it:works".exec = "echo fine"; }`));
  expect(after.state).toBe("success");
});

test("a full memory is named as the reason", async ({ workspace }) => {
  const result = await outcome(workspace, "fill-memory");
  expect(result.run.state).toBe("failure");
  expect(reasons(result)).toMatch(/memory/i);
});

test("a full disk fails the job and keeps the log", async ({ person }) => {
  const workspace = await createWorkspace(person, { disk_mib: 256 });
  const result = await outcome(workspace, "fill-disk");
  expect(result.run.state).toBe("failure");
  expect(result.text).toMatch(/no space left on device/i);
});

test("a job that ignores SIGTERM can be cancelled", async ({ workspace }) => {
  const number = await workspace.pushDirectory(`${FIXTURES}/ignore-sigterm`);
  await workspace.untilLine(number, /./);
  await workspace.api.post(`${workspace.path}/runs/${number}/cancel`);
  const run = await workspace.ended(number);
  expect(run.state).toBe("cancellation");
});

test("killing PID 1 is no way out", async ({ workspace }) => {
  const result = await outcome(workspace, "kill-pid1");
  expect(result.run.state).toBe("failure");
  expect(reasons(result)).not.toBe("");
});
