// Chromium's virtual authenticator: passkeys without a finger.

import { execFileSync } from "node:child_process";

import type { CDPSession, Page } from "@playwright/test";

export interface Credential {
  credentialId: string;
  isResidentCredential: boolean;
  rpId?: string;
  privateKey: string;
  userHandle?: string;
  signCount: number;
}

/** An authenticator in the browser of this page. */
export class Authenticator {
  private constructor(
    readonly client: CDPSession,
    readonly id: string,
  ) {}

  /** Puts one in; before the page begins a ceremony, or the browser waits for ever. */
  static async add(page: Page): Promise<Authenticator> {
    const client = await page.context().newCDPSession(page);
    await client.send("WebAuthn.enable");
    const { authenticatorId } = await client.send("WebAuthn.addVirtualAuthenticator", {
      options: {
        protocol: "ctap2",
        ctap2Version: "ctap2_1",
        transport: "internal",
        hasResidentKey: true,
        hasUserVerification: true,
        isUserVerified: true,
        automaticPresenceSimulation: true,
      },
    });
    return new Authenticator(client, authenticatorId);
  }

  async credentials(): Promise<Credential[]> {
    const { credentials } = await this.client.send("WebAuthn.getCredentials", { authenticatorId: this.id });
    return credentials;
  }

  /** Gives it a credential that another one has. */
  async give(credential: Credential): Promise<void> {
    await this.client.send("WebAuthn.addCredential", { authenticatorId: this.id, credential });
  }

  async forget(credential: Credential): Promise<void> {
    const { credentialId } = credential;
    await this.client.send("WebAuthn.removeCredential", { authenticatorId: this.id, credentialId });
  }

  /** Whether the person passes the check of the authenticator itself. */
  async setUserVerified(isUserVerified: boolean): Promise<void> {
    await this.client.send("WebAuthn.setUserVerified", { authenticatorId: this.id, isUserVerified });
  }

  /** Whether it answers at once, as if the person touched it. */
  async setPresence(enabled: boolean): Promise<void> {
    await this.client.send("WebAuthn.setAutomaticPresenceSimulation", { authenticatorId: this.id, enabled });
  }

  /** Makes what it says wrong. */
  async setWrong(bits: { isBogusSignature?: boolean; isBadUV?: boolean; isBadUP?: boolean }): Promise<void> {
    await this.client.send("WebAuthn.setResponseOverrideBits", { authenticatorId: this.id, ...bits });
  }

  async remove(): Promise<void> {
    await this.client.send("WebAuthn.removeVirtualAuthenticator", { authenticatorId: this.id });
  }
}

/** A one-time code from another hand than ours, `steps` of half a minute from now. */
export function code(secret: string, steps = 0): string {
  const now = new Date(Date.now() + steps * 30_000).toISOString().replace("T", " ").replace(/\..*/, " UTC");
  return execFileSync("oathtool", ["--totp", "--base32", `--now=${now}`, secret], { encoding: "utf8" }).trim();
}
