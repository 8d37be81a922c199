// A work tree whose commands are the real `git`.

import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import type { Project } from "./api.ts";

export interface Answer {
  code: number;
  stdout: string;
  stderr: string;
}

export class Git {
  readonly directory = mkdtempSync(join(tmpdir(), "dc-git-"));

  private constructor(readonly token: string) {}

  /** An empty work tree on branch `main` with the project as its origin. */
  static async create(project: Project, token: string): Promise<Git> {
    const git = new Git(token);
    await git.must("init", "--quiet", "--initial-branch", "main");
    await git.must("remote", "add", "origin", project.clone_url);
    return git;
  }

  /** Runs it, whatever comes of it. */
  run(...args: string[]): Promise<Answer> {
    const helper = 'credential.helper=!f() { echo username=e2e; echo "password=$E2E_TOKEN"; }; f';
    const all = ["-c", "credential.helper=", "-c", helper, "-c", "protocol.version=2", ...args];
    const env = {
      ...process.env,
      E2E_TOKEN: this.token,
      GIT_TERMINAL_PROMPT: "0",
      GIT_CONFIG_GLOBAL: "/dev/null",
      GIT_AUTHOR_NAME: "Ada Lovelace",
      GIT_AUTHOR_EMAIL: "ada@example.org",
      GIT_COMMITTER_NAME: "Ada Lovelace",
      GIT_COMMITTER_EMAIL: "ada@example.org",
      LC_ALL: "C",
    };
    return new Promise((resolve) => {
      execFile("git", all, { cwd: this.directory, env, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
        const code = error ? (typeof error.code === "number" ? error.code : 1) : 0;
        resolve({ code, stdout, stderr });
      });
    });
  }

  /** Runs it; an error unless it exits with 0. */
  async must(...args: string[]): Promise<Answer> {
    const answer = await this.run(...args);
    if (answer.code !== 0) throw new Error(`git ${args.join(" ")} exited with ${answer.code}:\n${answer.stderr}`);
    return answer;
  }

  write(files: Record<string, string>): void {
    for (const [name, content] of Object.entries(files)) {
      const file = join(this.directory, name);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, content);
    }
  }

  /** Copies a directory's files into the work tree. */
  copy(directory: string): void {
    cpSync(directory, this.directory, { recursive: true });
  }

  /** Commits all there is, and gives the commit. */
  async commit(title = "A change"): Promise<string> {
    await this.must("add", "--all");
    await this.must("commit", "--quiet", "--allow-empty", "--message", title);
    return (await this.must("rev-parse", "HEAD")).stdout.trim();
  }

  /** Pushes, and gives the number of the run that the server announced. */
  async push(...args: string[]): Promise<number> {
    const answer = await this.must("push", ...(args.length > 0 ? args : ["origin", "HEAD"]));
    return announced(answer)[0] ?? fail(`the push announced no run:\n${answer.stderr}`);
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** The numbers in `remote: run 42: <url>` and `remote: run 42 skipped, …: <url>`. */
export function announced(answer: Answer): number[] {
  return [...answer.stderr.matchAll(/^remote: run (\d+)[^:]*: http\S+/gm)].map((match) => Number(match[1]));
}

function fail(message: string): never {
  throw new Error(message);
}
