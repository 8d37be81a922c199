// What is killed, is missing or is full: no push is lost, nothing turns green
// by itself, and what a killed server left is put right at the next start.

import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createWorkspace, expect, test, type Workspace } from "../harness/test.ts";

/** Says something, then works for a while: long enough to be interrupted. */
const TALKS_THEN_WORKS = `{
  tasks."it:works".exec = ''
    for i in $(seq 1 200); do echo "line $i"; done
    echo ready
    sleep 8
    echo done
  '';
}`;

async function interruptible(workspace: Workspace) {
  const number = await workspace.pushNix(TALKS_THEN_WORKS);
  const lines = await workspace.untilLine(number, /^ready$/);
  return { number, lines };
}

test("kill -9 of the server during a job: no line is lost, and the job is run again", async ({ startServer }) => {
  const server = await startServer();
  const person = await server.setUp();
  const workspace = await createWorkspace(person);
  const { number, lines } = await interruptible(workspace);
  // The job's, and those that are made ready for the next.
  const machines = server.machines();
  expect(machines).not.toHaveLength(0);

  // A second push waits in the queue; it must survive as well.
  workspace.git.write({ "devenv.nix": `{ tasks."it:waits".exec = "echo waited"; }` });
  await workspace.git.commit("Waits");
  const waiting = await workspace.git.push("origin", "HEAD:refs/heads/waiting");

  await server.kill();
  await server.start();
  const run = await workspace.ended(number);
  const [first, second] = run.jobs[0]?.attempts ?? [];
  expect(first?.state, JSON.stringify(run, null, 1)).toBe("error");
  expect(first?.reason).toBeTruthy();
  expect(second?.state).toBe("success");
  expect(run.state).toBe("success");

  const kept = await workspace.text(number, 1);
  for (const line of lines) expect(kept).toContain(line.text);
  expect((await workspace.ended(waiting)).state).toBe("success");
  for (const pid of machines) expect(() => process.kill(pid, 0), "the old machine is gone").toThrow();
  workspace.git.remove();
});

test("kill -9 of QEMU during a job: an error, and one more attempt by itself", async ({ startServer }) => {
  const server = await startServer();
  const workspace = await createWorkspace(await server.setUp());
  const { number } = await interruptible(workspace);
  // Whichever is the job's: those that wait for the next die as well.
  const machines = server.machines();
  expect(machines).not.toHaveLength(0);
  for (const machine of machines) process.kill(machine, "SIGKILL");
  const run = await workspace.ended(number);
  const [first, second] = run.jobs[0]?.attempts ?? [];
  expect(first?.state).toBe("error");
  expect(first?.reason).toMatch(/machine|QEMU/i);
  expect(second?.state).toBe("success");
  workspace.git.remove();
});

test("a machine that dies every time: two attempts, then an error that stays", async ({ startServer }) => {
  const server = await startServer();
  const workspace = await createWorkspace(await server.setUp());
  const number = await workspace.pushDirectory("e2e/fixtures/projects/sleep");
  for (const attempt of [1, 2]) {
    for await (const event of workspace.api.events(`${workspace.path}/runs/${number}/events`)) {
      const task = event.data.run?.jobs[0]?.attempts[attempt - 1]?.stages.find(
        (stage: { stage: string }) => stage.stage === "task",
      );
      if (task) break;
    }
    for (const machine of server.machines()) process.kill(machine, "SIGKILL");
  }
  const run = await workspace.ended(number);
  expect(run.state).toBe("error");
  expect(run.jobs[0]?.attempts.map((attempt) => attempt.state)).toEqual(["error", "error"]);
  workspace.git.remove();
});

for (const [name, environment, reason] of [
  ["no image", { DEVENV_CLOUD_EXECUTOR_IMAGE_DIR: mkdtempSync(join(tmpdir(), "dc-no-image-")) }, /image build/],
  ["no QEMU", { DEVENV_CLOUD_EXECUTOR_QEMU: "/nonexistent/qemu-system-x86_64" }, /qemu/i],
] as const) {
  test(`${name}: the push is taken, the job is an error that says what to do`, async ({ startServer }) => {
    const server = await startServer({ environment });
    const workspace = await createWorkspace(await server.setUp());
    const number = await workspace.pushNix(`{ tasks."it:works".exec = "echo fine"; }`);
    const run = await workspace.ended(number);
    expect(run.state).toBe("error");
    expect(run.jobs[0]?.attempts.at(-1)?.reason).toMatch(reason);
    workspace.git.remove();
  });
}

test("a server that is told to stop leaves no machine, and goes on after the next start", async ({ startServer }) => {
  const server = await startServer();
  const workspace = await createWorkspace(await server.setUp());
  const { number } = await interruptible(workspace);
  const machines = server.machines();
  await server.stop();
  for (const pid of machines) expect(() => process.kill(pid, 0)).toThrow();
  await server.start();
  expect((await workspace.ended(number)).state).toBe("success");
  workspace.git.remove();
});

test("a disk that jobs fill: the job is not green, pushes are refused in words, and the server goes on", async ({
  startServer,
}) => {
  test.skip(process.getuid?.() !== 0, "only root can mount a small disk");
  const server = await startServer({
    environment: { DEVENV_CLOUD_LIMITS_DISK_RESERVE_MIB: "24" },
    prepare: (state) => execFileSync("mount", ["-t", "tmpfs", "-o", "size=48m,mode=0700", "tmpfs", state]),
    cleanUp: (state) => execFileSync("umount", ["--lazy", state]),
  });
  const workspace = await createWorkspace(await server.setUp());
  // What cannot be compressed fills the disk soon.
  const number = await workspace.pushNix(`{
    tasks."it:talks".exec = "head -c 60000000 /dev/urandom | base64 -w 100";
  }`);
  const run = await workspace.ended(number);
  expect(run.state).toBe("error");
  expect(run.jobs[0]?.attempts).toHaveLength(2);
  expect(run.jobs[0]?.attempts.at(-1)?.reason).toContain("the server's disk is full");

  // Somebody else takes what the job left.
  execFileSync("fallocate", ["--length", "8MiB", join(server.stateDirectory, "somebody-elses")]);
  await workspace.git.commit();
  const push = await workspace.git.run("push", "origin", "HEAD");
  expect(push.code).not.toBe(0);
  expect(push.stderr).toContain("the server's disk is full");

  // More room is all that it needs to go on.
  execFileSync("mount", ["-o", "remount,size=160m", server.stateDirectory]);
  const next = await workspace.pushNix(`{ tasks."it:works".exec = "true"; }`);
  expect((await workspace.ended(next)).state).toBe("success");
  workspace.git.remove();
});
