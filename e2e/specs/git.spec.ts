// The git remote, by the real git.

import { randomBytes } from "node:crypto";

import { announced, Git } from "../harness/git.ts";
import { createWorkspace, expect, test } from "../harness/test.ts";

const NOTHING_TO_DO = { "README.md": "Nothing to do here." };

test("a push tells where its run is, and the run is there when it returns", async ({ workspace, server }) => {
  workspace.git.write(NOTHING_TO_DO);
  const sha = await workspace.git.commit("Say nothing");
  const answer = await workspace.git.must("push", "origin", "main");
  const [number] = announced(answer);
  expect(answer.stderr).toContain(`${server.url}${workspace.page(`/runs/${number}`)}`);
  const run = await workspace.run(number ?? 0);
  expect(run.commit).toMatchObject({ sha, git_ref: "refs/heads/main", title: "Say nothing" });
});

test("branches are created, moved by force and deleted; tags make no run by default", async ({ workspace }) => {
  const { git } = workspace;
  git.write(NOTHING_TO_DO);
  await git.commit("One");
  await git.push("origin", "main");
  await git.push("origin", "HEAD:refs/heads/topic");
  await git.must("commit", "--amend", "--quiet", "--allow-empty", "--message", "One, again");
  const amended = (await git.must("rev-parse", "HEAD")).stdout.trim();
  const forced = await git.push("--force", "origin", "HEAD:refs/heads/topic");
  expect((await workspace.run(forced)).commit.sha).toBe(amended);

  const before = (await workspace.runs()).length;
  await git.must("tag", "v1");
  expect(announced(await git.must("push", "origin", "v1"))).toEqual([]);
  expect(announced(await git.must("push", "origin", ":refs/heads/topic"))).toEqual([]);
  expect((await workspace.runs()).length).toBe(before);
  const refs = (await git.must("ls-remote", "origin")).stdout;
  expect(refs).toContain("refs/tags/v1");
  expect(refs).not.toContain("refs/heads/topic");
});

test("a protected branch refuses force and deletion, and says so", async ({ workspace }) => {
  const { git } = workspace;
  git.write(NOTHING_TO_DO);
  const sha = await git.commit("One");
  await git.push("origin", "main");
  await git.must("commit", "--amend", "--quiet", "--message", "Rewritten");
  for (const args of [["--force", "origin", "main"], ["origin", ":refs/heads/main"]]) {
    const answer = await git.run("push", ...args);
    expect(answer.code).not.toBe(0);
    expect(answer.stderr).toMatch(/remote: .*protected/i);
  }
  expect((await git.must("ls-remote", "origin", "refs/heads/main")).stdout).toContain(sha);
});

test("one push of many refs makes a run for each that the settings name", async ({ person }) => {
  const workspace = await createWorkspace(person, { trigger_branches: ["ci/*"] });
  const { git } = workspace;
  git.write(NOTHING_TO_DO);
  await git.commit("Many");
  const refs = Array.from({ length: 40 }, (_, index) => `HEAD:refs/heads/${index < 3 ? "ci" : "other"}/${index}`);
  const answer = await git.must("push", "origin", ...refs);
  expect(announced(answer)).toHaveLength(3);
  expect((await git.must("ls-remote", "--heads", "origin")).stdout.trim().split("\n")).toHaveLength(40);
  git.remove();
});

test("push options are understood", async ({ workspace }) => {
  workspace.git.write(NOTHING_TO_DO);
  await workspace.git.commit("With an option");
  const answer = await workspace.git.must("push", "-o", "ci.skip", "origin", "main");
  expect(announced(answer)).toEqual([]);
  expect(await workspace.runs()).toEqual([]);
});

test("shallow and partial clones work", async ({ workspace }) => {
  const { git } = workspace;
  for (const title of ["One", "Two", "Three"]) {
    git.write({ "file.txt": `${title}\n${randomBytes(1000).toString("hex")}` });
    await git.commit(title);
  }
  await git.push("origin", "main");
  for (const [name, option] of [["shallow", "--depth=1"], ["partial", "--filter=blob:none"]] as const) {
    await git.must("clone", "--quiet", option, workspace.project.clone_url, name);
    expect((await git.must("-C", name, "log", "-1", "--format=%s")).stdout.trim()).toBe("Three");
  }
  expect((await git.must("-C", "shallow", "rev-list", "--count", "HEAD")).stdout.trim()).toBe("1");
  expect((await git.must("-C", "partial", "rev-list", "--count", "HEAD")).stdout.trim()).toBe("3");
});

test("a push over the size limit is refused in words, and leaves nothing", async ({ startServer }) => {
  const server = await startServer({ environment: { DEVENV_CLOUD_LIMITS_PUSH_MIB: "1" } });
  const person = await server.setUp();
  const workspace = await createWorkspace(person);
  workspace.git.write({ "large.txt": randomBytes(3 << 20).toString("base64") });
  await workspace.git.commit("Large");
  const answer = await workspace.git.run("push", "origin", "main");
  expect(answer.code).not.toBe(0);
  expect(answer.stderr).toMatch(/MiB|too large|exceeds|413/i);
  expect(await workspace.runs()).toEqual([]);
  workspace.git.remove();
});

test("a wrong token gets nothing, and no word about what exists", async ({ workspace, server }) => {
  const stranger = await Git.create(workspace.project, "dvc_0000000000000000000000000000000000000000");
  const answers = [];
  for (const url of [workspace.project.clone_url, `${server.url}/no-such-org/no-such-project.git`]) {
    const answer = await stranger.run("ls-remote", url);
    expect(answer.code).not.toBe(0);
    answers.push(answer.stderr.replaceAll(url, "URL"));
  }
  expect(answers[0]).toBe(answers[1]);
  stranger.remove();
});

test("a token that may only read cannot push", async ({ workspace, person }) => {
  // Tokens take a recent proof of who one is.
  await person.session.post("/session", { email: person.email, password: person.password });
  const { secret } = await person.session.post("/account/tokens", {
    name: "reader",
    scopes: ["read"],
    expires_in_days: 1,
  });
  const reader = await Git.create(workspace.project, secret);
  expect((await reader.run("ls-remote", "origin")).code).toBe(0);
  reader.write(NOTHING_TO_DO);
  await reader.commit("Not allowed");
  const answer = await reader.run("push", "origin", "main");
  expect(answer.code).not.toBe(0);
  expect(await workspace.runs()).toEqual([]);
  reader.remove();
});
