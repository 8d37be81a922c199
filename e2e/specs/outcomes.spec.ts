// What stands around a real machine, what is said when it ends in an unusual
// way, and that nothing of it is left. The table of all causes, without real
// machines, is in `server/src/executor/job/tests/outcomes.rs`.

import { existsSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Server } from "../harness/server.ts";
import { createWorkspace, expect, test, type Workspace } from "../harness/test.ts";

// Machines are booted, some twice, and some have to be silent for a minute.
test.describe.configure({ timeout: 400_000 });

/** Says something, then works for a while. */
const WORKS = `{
  tasks."it:works".exec = ''
    echo ready
    sleep 15
    echo done
  '';
}`;

/** Waits inside, until it takes a lot of the machine's memory: not more than it has. */
const GROWS = `{
  tasks."it:grows".exec = ''
    echo ready
    sleep 8
    head -c 1200000000 /dev/zero | tail | wc -c
  '';
}`;

/** The directories of control groups of a server's machines. */
function controlGroups(server: { pid: number }): string[] {
  const found: string[] = [];
  const seek = (directory: string, depth: number) => {
    if (depth > 7) return;
    let entries;
    try {
      entries = readdirSync(directory, { withFileTypes: true });
    } catch {
      return; // It is gone since.
    }
    for (const entry of entries.filter((entry) => entry.isDirectory())) {
      const path = join(directory, entry.name);
      if (entry.name.startsWith(`devenv-cloud-machines-${server.pid}-`)) {
        const groups = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
        // Without machines, it should not be there itself.
        found.push(...(groups.length ? groups.map((group) => join(path, group.name)) : [path]));
      } else seek(path, depth + 1);
    }
  };
  seek("/sys/fs/cgroup", 0);
  return found;
}

/** The machine of the one job that runs: its process, while nothing else is made ready. */
async function machineOf(server: Server, workspace: Workspace, nix: string): Promise<{ number: number; pid: number }> {
  const number = await workspace.pushNix(nix);
  await workspace.untilLine(number, /^ready$/);
  const [pid, ...others] = server.machines();
  if (!pid || others.length) throw new Error(`one machine runs: ${pid} ${others}`);
  return { number, pid };
}

/** Only machines of jobs: each is booted, and none waits. */
const ONE = { environment: { DEVENV_CLOUD_EXECUTOR_TEMPLATES: "false" } };

function status(pid: number, field: string): string {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return new RegExp(`^${field}:\\s*(.*)$`, "m").exec(text)?.[1] ?? "";
}

test("a machine's process has no rights, sees nothing of the host, and takes only its share", async ({
  startServer,
}) => {
  test.skip(process.getuid?.() !== 0, "only root sees a process of somebody else's");
  const mounts = () => readFileSync("/proc/self/mountinfo", "utf8");
  const mountsBefore = mounts();
  const server = await startServer(ONE);
  const workspace = await createWorkspace(await server.setUp());
  const { number, pid } = await machineOf(server, workspace, WORKS);

  for (const rights of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
    expect(status(pid, rights), rights).toMatch(/^0+$/);
  }
  expect(status(pid, "Uid")).toBe("65534\t65534\t65534\t65534");
  expect(status(pid, "NoNewPrivs")).toBe("1");
  expect(status(pid, "Seccomp"), "its system calls are filtered").toBe("2");
  expect(status(pid, "NSpid").split("\t"), "it is the first process of its own").toEqual([String(pid), "1"]);
  for (const namespace of ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"]) {
    const of = (process: number) => readlinkSync(`/proc/${process}/ns/${namespace}`);
    expect(of(pid), namespace).not.toBe(of(server.pid));
  }
  const interfaces = readFileSync(`/proc/${pid}/net/dev`, "utf8").match(/^ *\w+:/gm);
  expect(interfaces?.map((name) => name.trim())).toEqual(["lo:"]);
  const root = readdirSync(`/proc/${pid}/root`);
  expect(root).toContain("usr");
  for (const hidden of ["root", "home", "var", "sys", "tmp", "run", "old"]) expect(root).not.toContain(hidden);
  expect(readdirSync(`/proc/${pid}/root/proc`)).toEqual(["self"]);
  for (const mount of readFileSync(`/proc/${pid}/mountinfo`, "utf8").trim().split("\n")) {
    expect(mount.split(" ")[5], mount).toMatch(/^ro,nosuid/);
  }

  const groups = controlGroups(server);
  expect(groups).not.toHaveLength(0);
  const limit = (file: string) => groups.map((group) => join(group, file)).filter((path) => existsSync(path));
  const limits = [...limit("memory.limit_in_bytes"), ...limit("memory.max")];
  // Of the usual size: twice 2048 MiB, and what QEMU needs.
  expect(Number(readFileSync(limits[0] ?? "", "utf8")) >> 20).toBeLessThan(4700);
  expect([...limit("pids.max")].map((path) => Number(readFileSync(path, "utf8")))[0]).toBeLessThan(200);

  expect((await workspace.ended(number)).state).toBe("success");
  expect(server.machines()).toEqual([]);
  expect(controlGroups(server)).toEqual([]);
  expect(mounts()).toBe(mountsBefore);
  expect(readdirSync(join(server.stateDirectory, "scratch"))).toEqual(["8192.ext4"]);
  workspace.git.remove();
});

test("kill -9 of the server leaves control groups, and its next start removes them", async ({ startServer }) => {
  const server = await startServer(ONE);
  const workspace = await createWorkspace(await server.setUp());
  const { number } = await machineOf(server, workspace, WORKS);
  const before = { pid: server.pid };
  const groups = controlGroups(before);
  test.skip(groups.length === 0, "this host lets us make no control groups");
  await server.kill();
  expect(controlGroups(before), "nobody else removes them").not.toHaveLength(0);
  await server.start();
  expect(controlGroups(before)).toEqual([]);
  expect((await workspace.ended(number)).state).toBe("success");
  workspace.git.remove();
});

test("a machine that takes too much of the runner's memory: an error that says so", async ({ startServer }) => {
  const server = await startServer(ONE);
  const workspace = await createWorkspace(await server.setUp());
  const { number } = await machineOf(server, workspace, GROWS);
  const files = controlGroups(server).flatMap((group) =>
    ["memory.limit_in_bytes", "memory.max"].map((file) => join(group, file)).filter((path) => existsSync(path)),
  );
  test.skip(files.length === 0, "this host lets us make no control groups for memory");
  // A machine cannot take more than its limit as it is; so it gets a lower one.
  for (const file of files) writeFileSync(file, String(900 << 20));
  const run = await workspace.ended(number);
  const [first, second] = run.jobs[0]?.attempts ?? [];
  expect(first?.state, JSON.stringify(run, null, 1)).toBe("error");
  expect(first?.reason).toMatch(/^the machine took more than \d+ MiB of the runner's memory/);
  expect(second?.state).toBe("success");
  expect(controlGroups(server)).toEqual([]);
  workspace.git.remove();
});

test("a machine that is stopped from outside: silence, an error, and another attempt", async ({ startServer }) => {
  const server = await startServer(ONE);
  const workspace = await createWorkspace(await server.setUp());
  const { number, pid } = await machineOf(server, workspace, WORKS);
  process.kill(pid, "SIGSTOP");
  const run = await workspace.ended(number);
  const [first, second] = run.jobs[0]?.attempts ?? [];
  expect([first?.state, first?.reason]).toEqual(["error", "the machine said nothing for 60 s"]);
  expect(second?.state).toBe("success");
  expect(() => process.kill(pid, 0), "it is gone").toThrow();
  expect(server.machines()).toEqual([]);
  workspace.git.remove();
});

test("strict isolation is an error where something is missing, and none where nothing is", async ({ startServer }) => {
  const server = await startServer({
    environment: { ...ONE.environment, DEVENV_CLOUD_EXECUTOR_ISOLATION: "strict" },
  });
  const workspace = await createWorkspace(await server.setUp());
  const run = await workspace.ended(await workspace.pushNix(`{ tasks."it:works".exec = "echo fine"; }`));
  if (server.log().includes("isolated by all means")) {
    expect(run.state).toBe("success");
  } else {
    expect(run.state).toBe("error");
    expect(run.jobs[0]?.attempts.at(-1)?.reason).toContain("executor.isolation is strict");
  }
  workspace.git.remove();
});
