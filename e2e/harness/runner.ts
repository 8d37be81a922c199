// A real `devenv-cloud runner`, as somebody starts it on another machine.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export class Runner {
  readonly state = mkdtempSync(join(tmpdir(), "dc-runner-"));
  #child: ChildProcess | undefined;
  #lines: string[] = [];
  #waiting: (() => void)[] = [];

  constructor(
    readonly server: string,
    readonly options: string[] = [],
  ) {}

  log(): string {
    return this.#lines.join("\n");
  }

  /** Starts it, with a registration token the first time, and waits until it takes work. */
  async start(token?: string): Promise<void> {
    this.launch(token);
    await this.says(/is ready/);
  }

  /** Starts it and waits for nothing. */
  launch(token?: string): void {
    const environment = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !name.startsWith("DEVENV_CLOUD_")),
    );
    const images = process.env["E2E_IMAGES"];
    if (!images) throw new Error("E2E_IMAGES is not set");
    this.#lines = [];
    const child = spawn(process.env["E2E_SERVER"] ?? "", ["runner", "--server", this.server, ...this.options], {
      cwd: this.state,
      env: {
        ...environment,
        DEVENV_CLOUD_RUNNER_STATE_DIR: join(this.state, "state"),
        DEVENV_CLOUD_EXECUTOR_IMAGE_DIR: images,
        ...(token === undefined ? {} : { DEVENV_CLOUD_RUNNER_TOKEN: token }),
      },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#child = child;
    createInterface({ input: child.stderr }).on("line", (line) => {
      this.#lines.push(line);
      for (const wake of this.#waiting.splice(0)) wake();
    });
    child.once("exit", () => {
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  /** Waits until it has said this since its last start. */
  async says(pattern: RegExp): Promise<void> {
    while (!this.#lines.some((line) => pattern.test(line))) {
      if (this.#child?.exitCode !== null || this.#child.signalCode !== null) {
        // What it said last may still be on its way.
        await new Promise((resolve) => setImmediate(resolve));
        if (this.#lines.some((line) => pattern.test(line))) return;
        throw new Error(`the runner ended without saying ${pattern}:\n${this.log()}`);
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Its exit status, once it has ended. */
  async ended(): Promise<number | null> {
    const child = this.#child;
    if (!child) throw new Error("it was never started");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    return child.exitCode;
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.ended();
  }

  async remove(): Promise<void> {
    if (this.#child) await this.kill();
    rmSync(this.state, { recursive: true, force: true });
  }
}
