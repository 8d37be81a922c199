// The whole path: a push makes a run, the run boots a machine, the machine's
// trace is on a page while it happens.

import { createWorkspace, expect, test } from "../harness/test.ts";

test("examples/hello: from git push to success", async ({ workspace }) => {
  const number = await workspace.pushDirectory("examples/hello");
  const run = await workspace.ended(number);
  const job = run.jobs[0];
  const attempt = job?.attempts[0];
  expect(run.state, JSON.stringify(run, null, 1)).toBe("success");
  expect(attempt?.exit_status).toBe(0);

  const stages = attempt?.stages ?? [];
  const kinds = stages.map((stage) => stage.stage);
  for (const kind of ["queue", "machine", "checkout", "evaluate", "task"]) expect(kinds).toContain(kind);
  for (const stage of stages) {
    expect(stage.finished_at, `${stage.name} has ended`).toBeTruthy();
    expect(stage.state).toBe("success");
  }
  const started = stages.map((stage) => Date.parse(stage.started_at));
  expect(started, "stages come in the order of their start").toEqual([...started].sort((a, b) => a - b));
});

test("the machine has the pushed commit, in a real and clean repository", async ({ workspace }) => {
  const number = await workspace.pushNix(`{
    tasks."it:looks".exec = ''
      echo "commit $(git rev-parse HEAD)"
      echo "state [$(git status --porcelain)]"
      echo "user $(id -u)"
    '';
  }`);
  const run = await workspace.ended(number);
  expect(run.state, await workspace.text(number)).toBe("success");
  const text = await workspace.text(number);
  expect(text).toContain(`commit ${run.commit.sha}`);
  expect(text).toContain("state []");
  expect(text, "a job is not the superuser").not.toContain("user 0");
});

test("every run gets a machine that nobody has used", async ({ workspace }) => {
  const nix = (word: string) => `{
    tasks."it:leaves".exec = ''
      # ${word}
      if test -e "$HOME/left-behind"; then echo found something; exit 1; fi
      echo left > "$HOME/left-behind"
    '';
  }`;
  for (const word of ["first", "second"]) {
    const run = await workspace.ended(await workspace.pushNix(nix(word)));
    expect(run.state, `the ${word} run`).toBe("success");
  }
});

test("independent tasks run at the same time, dependent ones after each other", async ({ workspace }) => {
  const number = await workspace.pushDirectory("e2e/fixtures/projects/parallel");
  const run = await workspace.ended(number);
  expect(run.state, await workspace.text(number)).toBe("success");
});

test("a new push cancels the queued runs of the same branch", async ({ workspace }) => {
  // One machine at a time: the first occupies it, the second waits.
  const first = await workspace.pushDirectory("e2e/fixtures/projects/sleep");
  await workspace.untilLine(first, /./);
  await workspace.git.commit("Second");
  const second = await workspace.git.push();
  await workspace.git.commit("Third");
  const third = await workspace.git.push();
  const superseded = await workspace.ended(second);
  expect(superseded.state).toBe("cancellation");
  expect(superseded.reason ?? superseded.jobs[0]?.attempts[0]?.reason).toMatch(/newer|superseded/i);
  for (const number of [third, first]) await workspace.api.post(`${workspace.path}/runs/${number}/cancel`);
  expect((await workspace.ended(first)).state).toBe("cancellation");
});

test("a run can be retried", async ({ workspace }) => {
  const number = await workspace.pushDirectory("e2e/fixtures/projects/failing-task");
  expect((await workspace.ended(number)).state).toBe("failure");
  await workspace.api.post(`${workspace.path}/runs/${number}/retry`);
  const run = await workspace.ended(number);
  expect(run.state).toBe("failure");
  expect(run.jobs[0]?.attempts.map((attempt) => attempt.number)).toEqual([1, 2]);
});

test("a job's time limit ends it", async ({ person }) => {
  const workspace = await createWorkspace(person, { timeout_minutes: 1 });
  const number = await workspace.pushDirectory("e2e/fixtures/projects/sleep");
  const run = await workspace.ended(number);
  expect(run.state).toBe("timeout");
  expect(run.jobs[0]?.attempts).toHaveLength(1);
  workspace.git.remove();
});
