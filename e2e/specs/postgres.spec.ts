// The same server on PostgreSQL, and what happens when the database goes away.

import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";

import { createWorkspace, expect, test } from "../harness/test.ts";

const cluster = process.env.E2E_POSTGRES ?? "";

function sql(...statements: string[]): void {
  const commands = statements.flatMap((statement) => ["--command", statement]);
  execFileSync("psql", ["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", ...commands, cluster], { stdio: "pipe" });
}

function createDatabase(): { name: string; url: string } {
  const name = `e2e_${randomBytes(4).toString("hex")}`;
  sql(`CREATE DATABASE ${name}`);
  const url = new URL(cluster);
  url.pathname = `/${name}`;
  return { name, url: url.href };
}

test.skip(cluster === "", "E2E_POSTGRES names no PostgreSQL");

test("from git push to success on PostgreSQL", async ({ startServer }) => {
  const server = await startServer({ environment: { DEVENV_CLOUD_DATABASE_URL: createDatabase().url } });
  const workspace = await createWorkspace(await server.setUp());
  const run = await workspace.ended(await workspace.pushDirectory("examples/hello"));
  expect(run.state).toBe("success");
  expect(await workspace.text(run.number)).not.toBe("");
  workspace.git.remove();
});

test("the database is gone for a while: not ready, readable, and no push lost", async ({ startServer }) => {
  const { name, url } = createDatabase();
  const server = await startServer({ environment: { DEVENV_CLOUD_DATABASE_URL: url } });
  const workspace = await createWorkspace(await server.setUp());
  const number = await workspace.pushDirectory("examples/hello");
  await workspace.ended(number);

  sql(
    `ALTER DATABASE ${name} ALLOW_CONNECTIONS false`,
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`,
  );
  expect((await fetch(`${server.url}/readyz`)).status).toBe(503);
  expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
  await workspace.git.commit("While it is gone");
  const refused = await workspace.git.run("push", "origin", "main");
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).not.toMatch(/panicked/);

  sql(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
  const again = await workspace.git.push("origin", "main");
  expect((await workspace.ended(again)).state).toBe("success");
  workspace.git.remove();
});
