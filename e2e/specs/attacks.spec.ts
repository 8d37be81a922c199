// Machines whose guest attacks: `attacker/` stands in for PID 1, and the branch
// says how. Nothing that it does may harm more than its own job, which ends in
// bounded time with one clear sentence. `docs/security.md` has the table.

import { readFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";

import type { Run, Trace } from "../harness/api.ts";
import type { Server } from "../harness/server.ts";
import { createWorkspace, expect, fromEnvironment, test, type Workspace } from "../harness/test.ts";

/** How the attack's only job ends, and what is said of it. */
const ATTACKS: Record<string, [state: string, reason: RegExp]> = {
  nothing: ["success", /^$/],
  "frame-too-long": ["error", /broke the protocol: a frame of 4294967295 bytes; the limit is 1048576/],
  "frame-cut-short": ["error", /powered itself off before it reported a result/],
  "frame-garbage": ["error", /broke the protocol: a frame that is no message/],
  "frame-with-a-tail": ["error", /broke the protocol: a frame that is no message/],
  "second-greeting": ["error", /broke the protocol: a frame of \d+ bytes; the limit/],
  "ready-again": ["error", /said that it is ready in the middle of a job/],
  "warm-again": ["error", /said that it is warm, which nobody asked for/],
  "sequence-gap": ["error", /sent record 5 instead of 1$/],
  "sequence-repeat": ["error", /sent record 1 instead of 2$/],
  "sequence-end": ["error", /sent record 18446744073709551615 instead of 1$/],
  "span-of-the-host": ["error", /used the id \d+, which is the host's/],
  "span-unopened": ["error", /used span 7 before it opened it/],
  "span-closed-twice": ["error", /closed span 1 twice/],
  "spans-left-open": ["success", /^$/],
  "finished-twice": ["failure", /^the first word counts$/],
  "success-unproven": ["error", /reported success without an exit status of 0/],
  "lines-dropped": ["failure", /^dropped them all$/],
  "reason-endless": ["failure", /^(because )+/],
  clock: ["success", /^$/],
  "stream-of-nobody": ["error", /spoke of stream 7, which it never opened$/],
  "stream-beyond-credit": ["error", /sent more of stream 1 than it had credit for$/],
  "streams-at-once": ["error", /had more than 128 streams open$/],
  // Those that were given up count until the server knows.
  "streams-one-after-another": ["error", /(opened more than 50 streams a second, and gave them up|had more than 128 streams open)$/],
};

/** Those that send until they are stopped: ten gigabytes, if nobody did. */
const FLOODS: Record<string, RegExp> = {
  "spans-a-million": /opened more than 200000 spans/,
  "flood-garbage": /broke the protocol: a frame of \d+ bytes; the limit/,
  "flood-log": /sent more log than it may/,
  "flood-empty-lines": /sent more log than it may/,
  "flood-messages": /sent more names, attributes and messages than it may/,
  "flood-line-breaks": /sent more names, attributes and messages than it may/,
  "flood-attributes": /sent more names, attributes and messages than it may/,
  "flood-alive": /sent more than \d+ frames with nothing in them/,
  "flood-nothing": /sent more than \d+ frames with nothing in them/,
};

/** MiB that a server may need more during a flood than before it. */
const FLAT = 512;

async function start(startServer: (options: object) => Promise<Server>): Promise<[Server, Workspace]> {
  const server = await startServer({
    environment: {
      DEVENV_CLOUD_EXECUTOR_IMAGE_DIR: fromEnvironment("E2E_ATTACKER_IMAGES"),
      // Attacks and others' jobs at the same time.
      DEVENV_CLOUD_EXECUTOR_SLOTS: "3",
      DEVENV_CLOUD_EXECUTOR_POOL: "1",
      DEVENV_CLOUD_LIMITS_LOG_MIB: "4",
    },
  });
  const workspace = await createWorkspace(await server.setUp(), { cpus: 1, memory_mib: 512, disk_mib: 256 });
  workspace.git.write({ "devenv.nix": "{ }" });
  await workspace.git.commit();
  return [server, workspace];
}

/** Pushes the branch that makes the guest attack like this. */
async function attack(workspace: Workspace, name: string): Promise<number> {
  await workspace.git.commit(name);
  return workspace.git.push("origin", `HEAD:refs/heads/attack/${name}`);
}

/** What the only job of a run said about its end. */
function reason(run: Run): string {
  return run.jobs[0]?.attempts.at(-1)?.reason ?? "";
}

/** The server is as it was: no machine too many, and no defect in its log. */
async function expectUnharmed(server: Server, workspace: Workspace): Promise<void> {
  const run = await workspace.ended(await attack(workspace, "nothing"));
  expect(run.state, "others' jobs go on").toBe("success");
  await expect.poll(() => server.machines().length, "only what waits for jobs").toBeLessThanOrEqual(1);
  expect(server.log()).not.toMatch(/panicked at|ERROR/);
}

/** MiB of memory that the server itself has. */
function resident(server: Server): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))?.[1];
  return Number(kib) / 1024;
}

test("forged frames, records and ends harm nobody but their own job", async ({ startServer }) => {
  test.setTimeout(600_000);
  const [server, workspace] = await start(startServer);
  const pushed: [string, number][] = [];
  for (const name of Object.keys(ATTACKS)) pushed.push([name, await attack(workspace, name)]);
  for (const [name, number] of pushed) {
    const [state, words] = ATTACKS[name]!;
    const run = await workspace.ended(number);
    expect.soft([name, run.state, reason(run)]).toEqual([name, state, expect.stringMatching(words)]);
    // One sentence, and not the attacker's novel.
    expect.soft(reason(run).length, name).toBeLessThanOrEqual(4096);
    // What is an error is tried once more by itself; what the job did itself is not.
    expect.soft(run.jobs[0]?.attempts.length, name).toBe(state === "error" ? 2 : 1);
    const trace: Trace = await workspace.trace(number);
    // One look at all: a job may have very many.
    const odd = trace.spans.filter((span) => !(Date.parse(span.finished_at ?? "") < Date.now() + 1000));
    expect.soft(odd, `${name}: all spans have ended, in this century`).toEqual([]);
  }
  await expectUnharmed(server, workspace);
  workspace.git.remove();
});

test("floods are stopped in bounded time, and the server's memory stays flat", async ({ startServer }) => {
  test.setTimeout(900_000);
  const [server, workspace] = await start(startServer);
  await expectUnharmed(server, workspace);
  const before = resident(server);
  let most = 0;
  const watch = setInterval(() => (most = Math.max(most, resident(server))), 200);
  for (const [name, words] of Object.entries(FLOODS)) {
    const run = await workspace.ended(await attack(workspace, name));
    expect.soft([name, run.state, reason(run)]).toEqual([name, "error", expect.stringMatching(words)]);
  }
  clearInterval(watch);
  expect(most - before, `${before} MiB before, ${most} MiB at most`).toBeLessThan(FLAT);
  await expectUnharmed(server, workspace);
  workspace.git.remove();
});

test("a guest that says nothing ends in an error, and others' jobs run meanwhile", async ({ startServer }) => {
  test.setTimeout(400_000);
  const [server, workspace] = await start(startServer);
  const silent = await attack(workspace, "silence");
  const others = [await attack(workspace, "nothing"), await attack(workspace, "span-unopened")];
  for (const other of others) await workspace.ended(other);
  expect((await workspace.run(silent)).state).toBe("running");
  const run = await workspace.ended(silent);
  expect([run.state, reason(run)]).toEqual(["error", "the machine said nothing for 60 s"]);
  await expectUnharmed(server, workspace);
  workspace.git.remove();
});

/** Somebody who listens on the host, on both of its loopback addresses, and counts who comes. */
async function listenOnHost(): Promise<{ port: number; end: () => number }> {
  let connections = 0;
  const listener = createServer((socket) => {
    connections += 1;
    socket.destroy();
  }).listen(0, "::");
  await new Promise((resolve) => listener.once("listening", resolve));
  const { port } = listener.address() as AddressInfo;
  const end = () => {
    listener.close();
    return connections;
  };
  return { port, end };
}

test("a guest reaches nobody: not the host, not the network, not another machine", async ({ startServer }) => {
  const [server, workspace] = await start(startServer);
  const host = await listenOnHost();
  // Two machines at the same time: neither finds the other.
  const numbers = [await attack(workspace, `network.${host.port}`), await attack(workspace, `network.${server.port}`)];
  for (const number of numbers) {
    const run = await workspace.ended(number);
    expect([run.state, reason(run)]).toEqual(["failure", "reached nobody"]);
    const said = await workspace.text(number);
    expect(said).toContain("interfaces: lo");
    expect(said).toMatch(/ports: vport\d+p\d+$/m);
    expect(said).toMatch(/169\.254\.169\.254:80: Network is unreachable/);
    expect(said).toMatch(/vsock: /);
  }
  expect(host.end()).toBe(0);
  workspace.git.remove();
});

test("a guest that asks the server to connect for it reaches nobody either", async ({ startServer }) => {
  const [server, workspace] = await start(startServer);
  const host = await listenOnHost();
  for (const number of [await attack(workspace, `streams.${host.port}`), await attack(workspace, `streams.${server.port}`)]) {
    const run = await workspace.ended(number);
    expect([run.state, reason(run)]).toEqual(["failure", "reached nobody"]);
    const said = await workspace.text(number);
    expect(said.match(/: Refused: /g)?.length, said).toBeGreaterThanOrEqual(12);
  }
  expect(host.end()).toBe(0);
  await expectUnharmed(server, workspace);
  workspace.git.remove();
});

test("names, messages and reasons control no terminal and no page", async ({ startServer }) => {
  const [, workspace] = await start(startServer);
  const number = await attack(workspace, "control-characters");
  const run = await workspace.ended(number);
  expect(run.state).toBe("failure");
  const trace = await workspace.trace(number);
  const text = JSON.stringify([run, trace]);
  expect(text).toContain("<script>alert(1)</script>");
  // As JSON writes them: escape, bell, return, NUL, C1, and the override of direction.
  expect(text).not.toMatch(/\\u00[01]|\\r|[\u0080-\u009f\u202e]/);
  workspace.git.remove();
});
