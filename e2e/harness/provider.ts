// A certified identity provider beside a server that people sign in to with it.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

import type { Page } from "@playwright/test";

const SECRET = "a secret of the client, of some length";

export class Provider {
  private constructor(
    readonly issuer: string,
    readonly child: ChildProcess,
  ) {}

  /** Starts one; it knows no clients before `serve`. */
  static async start(): Promise<Provider> {
    const program = join(import.meta.dirname, "../fixtures/provider.mjs");
    const child = fork(program, { stdio: ["ignore", "pipe", "inherit", "ipc"] });
    if (!child.stdout) throw new Error("the provider says nothing");
    const [issuer] = await once(createInterface({ input: child.stdout }), "line");
    return new Provider(issuer, child);
  }

  /** A server's configuration: this provider by these names, with more keys each. */
  environment(providers: Record<string, Record<string, string>>): Record<string, string> {
    const all: Record<string, string> = {
      DEVENV_CLOUD_SIGN_IN_INTERNAL_HOSTS: new URL(this.issuer).host,
      DEVENV_CLOUD_EXECUTOR_ENABLED: "false",
    };
    for (const [name, more] of Object.entries(providers)) {
      const keys = { ISSUER: this.issuer, CLIENT_ID: `ci-${name}`, CLIENT_SECRET: SECRET, ...more };
      for (const [key, value] of Object.entries(keys)) all[`DEVENV_CLOUD_PROVIDER_${name.toUpperCase()}_${key}`] = value;
    }
    return all;
  }

  /** Lets a server at this address be a client by each of these names. */
  async serve(url: string, names: string[]): Promise<void> {
    const ready = once(this.child, "message");
    this.child.send(
      names.map((name) => ({
        client_id: `ci-${name}`,
        client_secret: SECRET,
        redirect_uris: [`${url}/sign-in/provider/${name}/callback`],
        response_types: ["code"],
        grant_types: ["authorization_code"],
        backchannel_logout_uri: `${url}/sign-in/provider/${name}/logout`,
        backchannel_logout_session_required: true,
      })),
    );
    await ready;
  }

  /** Signs in on the provider's pages, which are open, and agrees. */
  async signIn(page: Page, name: string): Promise<void> {
    await page.waitForURL(`${this.issuer}/**`);
    await page.locator('input[name="login"]').fill(name);
    await page.locator('input[name="password"]').fill("any");
    await page.getByRole("button", { name: "Sign-in" }).click();
    await this.agree(page);
  }

  async agree(page: Page): Promise<void> {
    await page.getByRole("button", { name: "Continue" }).click();
  }

  /** Ends the browser's session there, and with it those that began by it. */
  async signOut(page: Page): Promise<void> {
    await page.goto(`${this.issuer}/session/end`);
    await page.getByRole("button", { name: /yes/i }).click();
    await page.waitForURL(/success/);
  }

  async remove(): Promise<void> {
    const ended = once(this.child, "exit");
    this.child.kill();
    await ended;
  }
}
