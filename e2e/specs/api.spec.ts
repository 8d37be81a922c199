// The API as a stranger sees it, and as a browser of another site does.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { Api } from "../harness/api.ts";
import { expect, ROOT, test } from "../harness/test.ts";

interface Parameter {
  name: string;
  in: string;
}

/** What anybody may ask: whether the instance is set up, the document itself, and to be signed out. */
const OPEN = new Set([
  "GET /setup",
  "POST /setup",
  "POST /session",
  "DELETE /session",
  // The way in, step by step.
  "GET /sign-in",
  "DELETE /sign-in",
  "POST /sign-in/identify",
  "POST /sign-in/password",
  "POST /sign-in/code",
  "POST /sign-in/recovery-code",
  "POST /sign-in/passkey/begin",
  "POST /sign-in/passkey",
  "GET /openapi.json",
  // Whoever has a registration token is nobody yet.
  "POST /runner/register",
  // What comes by mail is opened on any device.
  "POST /password-reset",
  "POST /password-reset/confirm",
  "POST /email-confirmation",
  "GET /invitation",
  "POST /invitation/accept",
]);

test("no route answers a stranger, or lets them know what exists", async ({ workspace, server }) => {
  const stranger = new Api(server.url);
  const document = await stranger.get("/openapi.json");
  const number = await workspace.pushNix(`{ tasks."it:works".exec = "echo fine"; }`);
  const job = await workspace.job(number);
  const real: Record<string, string> = {
    org: workspace.project.org,
    project: workspace.project.slug,
    number: String(number),
    job: job.name,
  };
  let asked = 0;
  for (const [path, item] of Object.entries<Record<string, { parameters?: Parameter[] }>>(document.paths)) {
    for (const method of ["get", "post", "put", "patch", "delete"]) {
      if (!item[method]) continue;
      const short = path.replace(/^\/api\/v1/, "");
      const name = `${method.toUpperCase()} ${short}`;
      if (OPEN.has(name)) continue;
      const fill = (values: Record<string, string>) =>
        short.replace(/\{(\w+)\}/g, (_, parameter) => values[parameter] ?? "01890a5d-ac96-774b-bcce-b302099a8057");
      const answers = [];
      for (const target of [fill(real), fill({ ...real, org: "no-such-org", project: "no-such-project" })]) {
        const response = await stranger.raw(method.toUpperCase(), target, method === "get" ? undefined : {});
        const text = await response.text();
        expect([401, 403, 404], `${name}: ${response.status} ${text}`).toContain(response.status);
        answers.push({ status: response.status, text: text.replaceAll(target, "TARGET") });
        asked += 1;
      }
      expect(answers[0], `${name} does not tell what exists`).toEqual(answers[1]);
    }
  }
  expect(asked).toBeGreaterThan(20);
  await workspace.ended(number);
});

test("the document that is served is the one that is checked in", async ({ server }) => {
  const served = await fetch(`${server.url}/api/v1/openapi.json`);
  const checkedIn = JSON.parse(readFileSync(join(ROOT, "docs/openapi.json"), "utf8"));
  expect(await served.json()).toEqual(checkedIn);
});

test("another site's page cannot act with the visitor's session", async ({ page, person, server }) => {
  const api = new Api(server.url);
  await api.post("/session", { email: person.email, password: person.password });
  const response = await api.raw("POST", "/orgs", { slug: "stolen" }, {
    origin: "https://evil.example",
    "sec-fetch-site": "cross-site",
  });
  expect(response.status).toBe(403);
  expect((await person.api.raw("GET", "/orgs/stolen")).status).toBe(404);
  await page.goto(`${server.url}/sign-in`);
  const policy = (await page.request.get(`${server.url}/sign-in`)).headers()["content-security-policy"] ?? "";
  expect(policy).not.toContain("unsafe-inline");
  expect(policy).toContain("default-src");
});

test("a creation with the same key happens once", async ({ person }) => {
  const headers = { "idempotency-key": "e2e-0123456789abcdef" };
  const body = { slug: "only-once" };
  const first = await person.api.raw("POST", "/orgs", body, headers);
  const second = await person.api.raw("POST", "/orgs", body, headers);
  expect(first.status).toBe(201);
  expect(second.status).toBe(201);
  expect(await second.json()).toEqual(await first.json());
});
