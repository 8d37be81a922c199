// `devenv-cloud run` and `devenv-cloud doctor`: the same job in the same
// machine, without a server, as somebody at a terminal meets it.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { expect, expectAccessible, test as base } from "../harness/test.ts";

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** A repository, and the command in it. */
class Local {
  readonly home = mkdtempSync(join(tmpdir(), "dc-run-"));
  readonly directory = join(this.home, "shop");

  constructor() {
    mkdirSync(this.directory);
    this.git("init", "--quiet", "--initial-branch", "main");
  }

  git(...args: string[]): string {
    const who = ["AUTHOR", "COMMITTER"].flatMap((role) => [
      [`GIT_${role}_NAME`, "Ada Lovelace"],
      [`GIT_${role}_EMAIL`, "ada@example.org"],
    ]);
    const env = { ...process.env, GIT_CONFIG_GLOBAL: "/dev/null", ...Object.fromEntries(who) };
    return execFileSync("git", args, { cwd: this.directory, env, encoding: "utf8" }).trim();
  }

  write(files: Record<string, string>): void {
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(this.directory, name)), { recursive: true });
      writeFileSync(join(this.directory, name), content);
    }
  }

  commit(files: Record<string, string>): string {
    this.write(files);
    this.git("add", "--all");
    this.git("commit", "--quiet", "--message", "A change");
    return this.git("rev-parse", "HEAD");
  }

  start(args: string[], environment: Record<string, string> = {}): ChildProcess {
    const own = Object.entries(process.env).filter(([name]) => !name.startsWith("DEVENV_CLOUD_"));
    return spawn(program(), args, {
      cwd: this.directory,
      env: {
        ...Object.fromEntries(own),
        DEVENV_CLOUD_EXECUTOR_IMAGE_DIR: process.env.E2E_IMAGES ?? "",
        DEVENV_CLOUD_SERVER_STATE_DIR: join(this.home, "state"),
        XDG_CACHE_HOME: join(this.home, "cache"),
        ...environment,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  async run(args: string[], environment: Record<string, string> = {}): Promise<Ended> {
    return ended(this.start(args, environment));
  }

  remove(): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}

function program(): string {
  const path = process.env.E2E_SERVER;
  if (!path) throw new Error("E2E_SERVER is not set: run `cargo xtask test --only e2e`");
  return path;
}

async function ended(child: ChildProcess): Promise<Ended> {
  let stdout = "";
  let stderr = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const [code] = await once(child, "close");
  return { code, stdout, stderr };
}

/** Waits until a line has come. */
async function line(child: ChildProcess, wanted: string): Promise<void> {
  let text = "";
  for await (const chunk of child.stdout?.setEncoding("utf8").iterator({ destroyOnReturn: false }) ?? []) {
    text += chunk;
    if (text.split("\n").some((one) => one.trim() === wanted)) return;
  }
  throw new Error(`the line ${wanted} never came:\n${text}`);
}

/** QEMU's processes below one. */
function machines(parent: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const above = Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ")[1]);
        return above === parent && readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("qemu-system");
      } catch {
        return false;
      }
    });
}

const test = base.extend<{ local: Local }>({
  local: async ({}, use) => {
    const local = new Local();
    await use(local);
    local.remove();
  },
});

const TASKS = `{ pkgs, ... }: {
  enterTest = "echo tested";
  tasks."app:build".exec = "cat word; echo built";
  tasks."app:test" = { exec = "echo test of $DEVENV_CLOUD_PROJECT"; after = [ "app:build" ]; };
  tasks."app:lint".exec = "test ! -e broken || exit 7";
}`;

test("a commit: success, plain text when piped, the trace in a file, nothing left behind", async ({ local }) => {
  local.commit({ "devenv.nix": TASKS, word: "the word\n" });
  const trace = join(local.home, "trace.json");
  const result = await local.run(["run", "--trace", trace]);
  expect(result.code, result.stdout + result.stderr).toBe(0);
  expect(result.stdout).toMatch(/^shop · main at [0-9a-f]{8} · image [0-9a-f]+\n/);
  for (const word of ["the word", "built", "test of shop", "tested"]) expect(result.stdout).toContain(word);
  for (const name of ["machine", "checkout", "evaluate", "app:build", "app:test", "app:lint"]) {
    expect(result.stdout).toMatch(new RegExp(`^✓ ${name} +[0-9.]+ s`, "m"));
  }
  expect(result.stdout).toMatch(/^✓ success after [0-9.]+ s \(4 done\)$/m);
  expect(result.stdout, "no escape sequences").not.toContain("\u001b");
  expect(result.stderr).toBe("");

  const file = JSON.parse(readFileSync(trace, "utf8"));
  expect(file.attempt.state).toBe("success");
  expect(file.attempt.exit_status).toBe(0);
  expect(file.commit.sha).toBe(local.git("rev-parse", "HEAD"));
  expect(file.trace.spans[0].kind).toBe("job");
  expect(file.trace.total).toBe(file.trace.spans.length);
  expect(file.log.lines.map((line: { text: string }) => line.text)).toContain("built");
  expect(file.log.total).toBe(file.log.lines.length);

  expect(readdirSync(local.home).sort()).toEqual(["cache", "shop", "trace.json"]);
  // An empty disk to copy, if the machine was booted; nothing if it was restored.
  const disks = readdirSync(join(local.home, "cache/devenv-cloud/scratch"));
  expect(disks.filter((name) => name !== "8192.ext4")).toEqual([]);
  expect(readdirSync(join(local.home, "cache/devenv-cloud/source"))).toEqual([]);
});

test("a change that is not committed is seen, and --rev does not see it", async ({ local }) => {
  const commit = local.commit({ "devenv.nix": TASKS, ".gitignore": "ignored\n", word: "old\n" });
  local.write({ word: "new\n", broken: "", ignored: "" });
  const before = local.git("status", "--porcelain", "--untracked-files=all");

  const dirty = await local.run(["run"]);
  expect(dirty.code, dirty.stdout + dirty.stderr).toBe(1);
  expect(dirty.stdout).toContain("main with 2 uncommitted changes");
  expect(dirty.stdout).toMatch(/^(app:\w+ +│| ) new$/m);
  expect(dirty.stdout).toMatch(/^✗ app:lint .* exit status 7$/m);
  expect(dirty.stdout).toMatch(/^✗ failure after/m);
  expect(local.git("status", "--porcelain", "--untracked-files=all")).toBe(before);
  expect(local.git("rev-parse", "HEAD")).toBe(commit);
  expect(local.git("fsck", "--no-dangling", "--unreachable")).toBe("");

  const clean = await local.run(["run", "--rev", "main"]);
  expect(clean.code, clean.stdout + clean.stderr).toBe(0);
  expect(clean.stdout).toMatch(/^(app:\w+ +│| ) old$/m);
});

test("--task runs the task and what it depends on", async ({ local }) => {
  local.commit({ "devenv.nix": TASKS, word: "w\n", broken: "" });
  const one = await local.run(["run", "--task", "app:test"]);
  expect(one.code, one.stdout + one.stderr).toBe(0);
  expect(one.stdout).toMatch(/✓ app:build/);
  expect(one.stdout).toMatch(/✓ app:test/);
  expect(one.stdout).not.toMatch(/app:lint|tested/);
  const none = await local.run(["run", "--task", "app:tset"]);
  expect(none.code).toBe(1);
  expect(none.stdout).toContain("there is no task app:tset. Did you mean app:test?");
});

test("Ctrl+C cancels with grace, twice kills, and no machine stays", async ({ local }) => {
  local.commit({
    "devenv.nix": `{ tasks."it:waits".exec = ''
      trap 'echo farewell; exit 1' TERM
      echo ready
      while true; do read -t 1 < <(:) || true; done
    ''; }`,
  });
  const child = local.start(["run"]);
  const first = ended(child);
  await line(child, "ready");
  const [machine] = machines(child.pid ?? 0);
  expect(machine, "there is a machine").toBeTruthy();
  child.kill("SIGINT");
  const cancelled = await first;
  expect(cancelled.code).toBe(130);
  expect(cancelled.stdout).toContain("farewell");
  expect(cancelled.stdout).toMatch(/^– cancellation after/m);
  expect(existsSync(`/proc/${machine}`)).toBe(false);

  local.commit({ "devenv.nix": `{ tasks."it:stays".exec = "trap : TERM; echo ready; while true; do :; done"; }` });
  const twice = local.start(["run"]);
  const second = ended(twice);
  await line(twice, "ready");
  twice.kill("SIGINT");
  await line(twice, "Cancelling: its commands have 10 s to end. Ctrl+C again kills the machine.");
  const began = Date.now();
  twice.kill("SIGINT");
  const killed = await second;
  expect(killed.code).toBe(130);
  expect(killed.stdout).toContain("the machine was killed");
  expect(Date.now() - began).toBeLessThan(5_000);
});

test("what is missing is said with what to do, and exits with 3", async ({ local }) => {
  const nothing = await local.run(["run", "-C", local.home]);
  expect(nothing.code).toBe(3);
  expect(nothing.stderr).toContain("git init");

  local.commit({ readme: "r" });
  const empty = await local.run(["run"]);
  expect(empty.code).toBe(4);
  expect(empty.stderr).toContain("there is no devenv.nix");

  local.commit({ "devenv.nix": "{ }" });
  const images = mkdtempSync(join(local.home, "no-image-"));
  const image = await local.run(["run"], { DEVENV_CLOUD_EXECUTOR_IMAGE_DIR: images });
  expect(image.code).toBe(3);
  expect(image.stderr).toContain("devenv-cloud image build");

  const qemu = await local.run(["run"], { DEVENV_CLOUD_EXECUTOR_QEMU: "/nonexistent/qemu" });
  expect(qemu.code).toBe(3);
  expect(qemu.stdout).toContain("apt-get install qemu-system-x86");

  const usage = await local.run(["run", "--memory", "lots"]);
  expect(usage.code).toBe(2);
  expect(usage.stderr).toContain("2G");
});

test("doctor: jobs can run here, and without QEMU they cannot", async ({ local }) => {
  const fine = await local.run(["doctor", "--json"]);
  const report = JSON.parse(fine.stdout);
  const problems = report.findings.filter((finding: { verdict: string }) => finding.verdict === "problem");
  expect(problems).toEqual([]);
  expect(fine.code).toBe(0);
  expect(report.can_run).toBe(true);
  const checks = report.findings.map((finding: { check: string }) => finding.check);
  for (const check of ["qemu", "kvm", "accelerator", "image", "machine", "memory", "disk", "namespaces", "cgroups", "git"]) {
    expect(checks).toContain(check);
  }
  for (const finding of report.findings) expect(Boolean(finding.todo)).toBe(finding.verdict !== "fine");

  const bad = await local.run(["doctor", "--no-machine"], { DEVENV_CLOUD_EXECUTOR_QEMU: "no-such-qemu" });
  expect(bad.code).toBe(1);
  expect(bad.stdout).toMatch(/^✗ qemu +there is no no-such-qemu\n +→ run `apt-get install qemu-system-x86`/m);
});

test("the page of a failed run shows the line that reproduces it, and the line does", async ({ workspace, signedIn, local }) => {
  const number = await workspace.pushNix(`{
    tasks."app:fine".exec = "echo fine";
    tasks."app:fails".exec = "echo about to fail; exit 3";
  }`);
  const run = await workspace.ended(number);
  expect(run.state).toBe("failure");
  const expected = `devenv-cloud run --rev ${run.commit.sha} --task app:fails`;
  for (const page of [`/runs/${number}`, `/runs/${number}/${run.jobs[0]?.name}`]) {
    await signedIn.goto(workspace.page(page));
    const section = signedIn.getByRole("region", { name: "Do it again on your own machine" });
    await expect(section.locator("code")).toHaveText(expected);
    await expect(section.getByRole("button", { name: "Copy the command" })).toBeEnabled();
    await expectAccessible(signedIn);
  }
  const again = await local.run([...expected.split(" ").slice(1), "-C", workspace.git.directory]);
  expect(again.code, again.stdout + again.stderr).toBe(1);
  expect(again.stdout).toContain("about to fail");
  expect(again.stdout).not.toContain("app:fine");
});
