// A real `devenv-cloud serve` with a state directory of its own.

import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createWriteStream, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { Api } from "./api.ts";

/** What `cargo xtask test` tells us. */
export function fromEnvironment(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run \`cargo xtask test --only e2e\``);
  return value;
}

export interface Options {
  /** More configuration, as environment variables. */
  environment?: Record<string, string>;
  /** Called with the state directory before the first start. */
  prepare?: (state: string) => void;
  /** Called with it after the end. */
  cleanUp?: (state: string) => void;
}

export class Server {
  readonly state = mkdtempSync(join(tmpdir(), "dc-e2e-"));
  /** Everything the server has written, over all of its starts. */
  readonly logFile = join(this.state, "e2e-server.log");
  #log = createWriteStream(this.logFile, { flags: "a" });
  #child: ChildProcess | undefined;
  #setupUrl: string | undefined;

  private constructor(
    readonly port: number,
    readonly options: Options,
  ) {}

  /** Starts one and waits until it is ready. */
  static async start(options: Options = {}): Promise<Server> {
    const server = new Server(await freePort(), options);
    mkdirSync(server.stateDirectory, { mode: 0o700 });
    options.prepare?.(server.stateDirectory);
    await server.start();
    return server;
  }

  get stateDirectory(): string {
    return join(this.state, "state");
  }

  get url(): string {
    return `http://localhost:${this.port}`;
  }

  get pid(): number {
    if (!this.#child?.pid) throw new Error("the server does not run");
    return this.#child.pid;
  }

  /** The one-time link that the first start printed. */
  get setupUrl(): string {
    if (!this.#setupUrl) throw new Error(`the server printed no set-up link:\n${this.log()}`);
    return this.#setupUrl;
  }

  log(): string {
    return readFileSync(this.logFile, "utf8");
  }

  /** Starts it again on the same state, after `stop` or `kill`. */
  async start(): Promise<void> {
    const environment = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !name.startsWith("DEVENV_CLOUD_")),
    );
    const child = spawn(fromEnvironment("E2E_SERVER"), ["serve"], {
      cwd: this.state,
      env: {
        ...environment,
        DEVENV_CLOUD_SERVER_LISTEN: `127.0.0.1:${this.port}`,
        DEVENV_CLOUD_SERVER_BASE_URL: this.url,
        DEVENV_CLOUD_SERVER_STATE_DIR: this.stateDirectory,
        DEVENV_CLOUD_SERVER_METRICS_LISTEN: "",
        DEVENV_CLOUD_EXECUTOR_IMAGE_DIR: fromEnvironment("E2E_IMAGES"),
        DEVENV_CLOUD_LIMITS_SIGN_INS_PER_MINUTE: "1000",
        ...this.options.environment,
      },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#child = child;
    const ended = once(child, "exit").then(([code, signal]) => {
      throw new Error(`the server ended (${code ?? signal}) before it was ready:\n${this.log()}`);
    });
    const listening = new Promise<void>((resolve) => {
      createInterface({ input: child.stderr }).on("line", (line) => {
        this.#log.write(`${line}\n`);
        const link = /https?:\/\/\S*\/setup\?token=[\w.-]+/.exec(line);
        if (link) this.#setupUrl = link[0];
        if (line.includes("listening")) resolve();
      });
    });
    await Promise.race([listening, ended]);
    // From here on its end is somebody's wish, or seen by the requests that fail.
    ended.catch(() => {});
    const ready = await fetch(`${this.url}/readyz`);
    if (!ready.ok) throw new Error(`the server is not ready: ${await ready.text()}`);
  }

  /** Asks it to end, and waits. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** Ends it as a power cut would. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }

  /** Ends it and removes what it left. */
  async remove(): Promise<void> {
    await this.stop();
    this.#log.end();
    this.options.cleanUp?.(this.stateDirectory);
    rmSync(this.state, { recursive: true, force: true });
  }

  /** The processes of its machines. */
  machines(): number[] {
    const children = new Map<number, number[]>();
    const qemu = new Set<number>();
    for (const name of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
      const pid = Number(name);
      try {
        // `pid (any name) state ppid …`
        const parent = Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ")[1]);
        children.set(parent, [...(children.get(parent) ?? []), pid]);
        if (readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("qemu-system")) qemu.add(pid);
      } catch {
        // It has ended since.
      }
    }
    const below = (pid: number): number[] => (children.get(pid) ?? []).flatMap((child) => [child, ...below(child)]);
    return below(this.pid).filter((pid) => qemu.has(pid));
  }

  /** Uses the set-up link; gives the first person. */
  async setUp(): Promise<Person> {
    const person = { email: "ada@example.org", name: "Ada Lovelace", password: randomBytes(12).toString("hex") };
    const api = new Api(this.url);
    const token = new URL(this.setupUrl).searchParams.get("token");
    await api.post("/setup", { ...person, token });
    const { secret } = await api.post("/account/tokens", {
      name: "end to end",
      scopes: ["read", "write", "admin"],
      expires_in_days: 7,
    });
    return { ...person, token: secret, api: api.withToken(secret), session: api };
  }
}

export interface Person {
  email: string;
  name: string;
  password: string;
  /** A personal access token with every scope. */
  token: string;
  api: Api;
  /** The API as their browser uses it; some things no token may do. */
  session: Api;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
