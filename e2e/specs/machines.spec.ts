// Where machines come from: booted, restored from a template, or waiting in
// the pool; and that those which come from the same template share nothing
// that must be their own.

import { createWorkspace, expect, test, type Workspace } from "../harness/test.ts";

/** Says what a machine must have for itself. */
const WHO_AM_I = `{
  tasks."it:says".exec = ''
    echo "random $(head -c 32 /dev/urandom | base64 -w 0)"
    echo "boot $(cat /proc/sys/kernel/random/boot_id)"
    echo "machine $(cat /etc/machine-id)"
    echo "host $(cat /proc/sys/kernel/hostname)"
    echo "time $(date +%s)"
    echo "disk $(df --output=avail -m / | tail -n 1)"
  '';
}`;

interface Identity {
  /** How the machine came to be. */
  start: string;
  words: Record<string, string>;
  /** The server's time when the job had ended, in seconds. */
  ended: number;
}

async function runOne(workspace: Workspace): Promise<Identity> {
  const number = await workspace.pushNix(`# ${Math.random()}\n${WHO_AM_I}`);
  const run = await workspace.ended(number);
  expect(run.state, await workspace.text(number)).toBe("success");
  const trace = await workspace.trace(number);
  const machine = trace.spans.find((span) => span.stage === "machine");
  const lines = (await workspace.text(number)).split("\n");
  const words = Object.fromEntries(
    lines.flatMap((line) => {
      const found = /^(random|boot|machine|host|time|disk) +(.*)$/.exec(line);
      return found?.[1] && found[2] !== undefined ? [[found[1], found[2]]] : [];
    }),
  );
  return { start: machine?.attributes["devenv_cloud.machine.start"] ?? "", words, ended: Date.now() / 1000 };
}

/** Runs jobs until one's machine came to be like this. */
async function untilStart(workspace: Workspace, start: string): Promise<Identity[]> {
  const all: Identity[] = [];
  for (;;) {
    const one = await runOne(workspace);
    all.push(one);
    if (one.start === start) return all;
  }
}

for (const [pool, starts] of [
  ["1", ["cold", "on_demand", "pooled"]],
  ["0", ["cold", "on_demand"]],
] as const) {
  test(`with a pool of ${pool}, machines become quick by themselves and share nothing`, async ({ startServer }) => {
    // On a busy host it takes a while until the pool is full again.
    test.setTimeout(400_000);
    const server = await startServer({ environment: { DEVENV_CLOUD_EXECUTOR_POOL: pool } });
    const workspace = await createWorkspace(await server.setUp());
    const last = starts.at(-1) ?? "";
    const all = await untilStart(workspace, last);
    // Another of the same template, which came to be in the same way.
    all.push(...(await untilStart(workspace, last)), await runOne(workspace));

    expect(all.filter((one) => one.start === last).length).toBeGreaterThanOrEqual(2);
    for (const one of all) expect(starts).toContain(one.start);
    for (const what of ["random", "boot", "machine", "host"]) {
      const values = all.map((one) => one.words[what]);
      expect(new Set(values).size, `${what}: ${values}`).toBe(all.length);
    }
    for (const one of all) {
      expect(one.words["host"]).toMatch(/^devenv-ci-[0-9a-f]{8}$/);
      // Restored machines do not live in the past.
      expect(Math.abs(one.ended - Number(one.words["time"]))).toBeLessThan(60);
      // The scratch disk is the project's, not the template's memory.
      expect(Number(one.words["disk"])).toBeGreaterThan(6000);
    }
    workspace.git.remove();
  });
}

test("a template that is kept serves the first job after a start", async ({ startServer }) => {
  const server = await startServer({ environment: { DEVENV_CLOUD_EXECUTOR_POOL: "0" } });
  const workspace = await createWorkspace(await server.setUp());
  await untilStart(workspace, "on_demand");
  for (let restart = 0; restart < 3; restart += 1) {
    await server.kill();
    await server.start();
    expect((await runOne(workspace)).start).toBe("on_demand");
  }
  workspace.git.remove();
});

test("a machine that dies while it waits is no job's trouble", async ({ startServer }) => {
  const server = await startServer({ environment: { DEVENV_CLOUD_EXECUTOR_POOL: "1" } });
  const workspace = await createWorkspace(await server.setUp());
  await untilStart(workspace, "pooled");
  for (const machine of server.machines()) process.kill(machine, "SIGKILL");
  const number = await workspace.pushNix(WHO_AM_I);
  const run = await workspace.ended(number);
  expect(run.state, JSON.stringify(run)).toBe("success");
  expect(run.jobs[0]?.attempts).toHaveLength(1);
  workspace.git.remove();
});

test("without templates every machine is booted", async ({ startServer }) => {
  const server = await startServer({ environment: { DEVENV_CLOUD_EXECUTOR_TEMPLATES: "false" } });
  const workspace = await createWorkspace(await server.setUp());
  for (const one of [await runOne(workspace), await runOne(workspace)]) expect(one.start).toBe("cold");
  workspace.git.remove();
});
