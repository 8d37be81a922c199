// Programs that sign in with an account of the server: a certified client
// (openid-client) and our own command line, with a real browser in between.

import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import * as client from "openid-client";

import { Api } from "../harness/api.ts";
import { look } from "../harness/look.ts";
import type { Server } from "../harness/server.ts";
import { expect, fromEnvironment, signIn, test } from "../harness/test.ts";

const CLI = "devenv-cloud-cli";
const SECRET = randomBytes(32).toString("hex");

/** An application that people are sent back to. */
async function application() {
  const seen: URL[] = [];
  const server = createServer((request, response) => {
    seen.push(new URL(request.url ?? "/", `http://${request.headers.host}`));
    response.setHeader("content-type", "text/html").end("<!DOCTYPE html><title>Back</title><link rel=icon href=data:,><h1>Back</h1>");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { address: `http://127.0.0.1:${port}/callback`, seen, end: () => server.close() };
}

/** Reads the discovery document, as every certified client does. */
function discover(server: Server, id: string, secret?: string): Promise<client.Configuration> {
  const proof = secret ? client.ClientSecretBasic(secret) : client.None();
  return client.discovery(new URL(server.url), id, { id_token_signed_response_alg: "ES256" }, proof, {
    execute: [client.allowInsecureRequests],
  });
}

for (const [kind, id] of [["a confidential", "grafana"], ["a public", CLI]] as const) {
  test(`${kind} client completes the code flow with PKCE`, async ({ page, startServer }) => {
    const app = await application();
    const hash = createHash("sha256").update(SECRET).digest("hex");
    const clients = `grafana sha256:${hash} ${app.address}`;
    const server = await startServer({ environment: { DEVENV_CLOUD_ISSUER_CLIENTS: clients } });
    const person = await server.setUp();
    const config = await discover(server, id, id === CLI ? undefined : SECRET);
    const verifier = client.randomPKCECodeVerifier();
    const [state, nonce] = [client.randomState(), client.randomNonce()];
    const address = client.buildAuthorizationUrl(config, {
      redirect_uri: app.address,
      scope: id === CLI ? "openid email read" : "openid profile email",
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: "S256",
      state,
      nonce,
    });
    // Not signed in: there first, and then back to the question.
    await page.goto(address.href);
    expect(new URL(page.url()).pathname).toBe("/sign-in");
    const question = new URL(page.url()).searchParams.get("return_to") ?? "";
    await signIn(page, server.url, person);
    await page.goto(`${server.url}${question}`);
    await expect(page.getByRole("heading", { level: 1 })).toContainText(id);
    await expect(page.locator("main")).toContainText(person.email);
    await look(page, `consent-${id}`);
    await page.getByRole("button", { name: "Allow" }).click();
    await page.waitForURL(`${app.address}**`);

    const tokens = await client.authorizationCodeGrant(config, new URL(page.url()), {
      pkceCodeVerifier: verifier,
      expectedState: state,
      expectedNonce: nonce,
      idTokenExpected: true,
    });
    const claims = tokens.claims();
    expect(claims).toMatchObject({ iss: server.url, aud: id, email: person.email, email_verified: false });
    const info = await client.fetchUserInfo(config, tokens.access_token, claims?.sub ?? "");
    expect(info.email).toBe(person.email);
    const works = async () => (await new Api(server.url, tokens.access_token).raw("GET", "/session")).status;
    expect(await works()).toBe(id === CLI ? 200 : 401);
    await client.tokenRevocation(config, tokens.access_token);
    expect(await works()).toBe(401);

    // A no goes back, too.
    await page.goto(client.buildAuthorizationUrl(config, {
      redirect_uri: app.address,
      scope: "openid",
      prompt: "consent",
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: "S256",
      state,
    }).href);
    await page.getByRole("button", { name: "Deny" }).click();
    await page.waitForURL(`${app.address}**`);
    expect(new URL(page.url()).searchParams.get("error")).toBe("access_denied");
    app.end();
  });
}

test.describe("by code", () => {
  // A code under which no login waits is a page with the status 404.
  test.use({ expectedMessages: [/status of 404/] });

  test("a certified client completes the device flow", async ({ signedIn: page, server, person }) => {
    const config = await discover(server, CLI);
    const begun = await client.initiateDeviceAuthorization(config, { scope: "openid read" });
    const granted = client.pollDeviceAuthorizationGrant(config, begun);
    await page.goto(begun.verification_uri);
    await look(page, "device-empty");
    await page.getByLabel("Code").fill("BCDF-GHJK");
    await page.getByRole("button", { name: "Continue" }).click();
    await expect(page.getByRole("alert")).toContainText("no login waits");
    await page.getByLabel("Code").fill(begun.user_code.toLowerCase().replace("-", ""));
    await page.getByRole("button", { name: "Continue" }).click();
    await expect(page.getByText(begun.user_code)).toBeVisible();
    await look(page, "device");
    await page.getByRole("button", { name: "Allow" }).click();
    await expect(page.getByRole("heading", { name: "Connected" })).toBeVisible();
    await look(page, "device-done");
    const tokens = await granted;
    const viewer = await new Api(server.url, tokens.access_token).get("/session");
    expect(viewer.user.email).toBe(person.email);
    expect(tokens.claims()?.sub).toBe(viewer.user.id);
  });
});

test.describe("without JavaScript", () => {
  test.use({ javaScriptEnabled: false });

  test("devenv-cloud login, whoami, logout", async ({ signedIn: page, server, person }) => {
    const home = mkdtempSync(join(tmpdir(), "dc-e2e-home-"));
    const start = (...args: string[]) => {
      const child = spawn(fromEnvironment("E2E_SERVER"), args, { cwd: home, env: { HOME: home } });
      let said = "";
      child.stdout.on("data", (data) => (said += data));
      child.stderr.on("data", (data) => (said += data));
      return { said: () => said, ended: once(child, "exit").then(([code]) => code as number) };
    };
    const login = start("login", server.url);
    await expect.poll(login.said).toContain("user_code=");
    const link = /https?:\S+user_code=\S+/.exec(login.said())?.[0] ?? "";
    await page.goto(link);
    await expect(page.locator("main")).toContainText("127.0.0.1");
    await page.getByRole("button", { name: "Allow" }).click();
    await expect(page.getByRole("heading", { name: "Connected" })).toBeVisible();
    expect(await login.ended, login.said()).toBe(0);
    expect(login.said()).toContain(`as ${person.name} (${person.email})`);

    const file = join(home, ".config/devenv-cloud/credentials.toml");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const token = /dvc_\w+/.exec(readFileSync(file, "utf8"))?.[0] ?? "";
    const whoami = start("whoami");
    expect(await whoami.ended, whoami.said()).toBe(0);
    expect(whoami.said()).toContain(person.email);
    const logout = start("logout");
    expect(await logout.ended, logout.said()).toBe(0);
    expect((await new Api(server.url, token).raw("GET", "/session")).status).toBe(401);
    rmSync(home, { recursive: true, force: true });
  });
});
