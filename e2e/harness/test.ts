// What every spec starts from: `test` with a server per worker, a person who
// may do everything, and pages whose console must stay silent.

import { randomBytes } from "node:crypto";
import { join } from "node:path";

import AxeBuilder from "@axe-core/playwright";
import { type Page, test as base, expect } from "@playwright/test";

import { type Project, ProjectApi } from "./api.ts";
import { Git } from "./git.ts";
import { type Options, type Person, Server, fromEnvironment } from "./server.ts";

export { expect, fromEnvironment };

/** The top of the checkout. */
export const ROOT = join(import.meta.dirname, "../..");

/** A project with a work tree to push from. */
export class Workspace extends ProjectApi {
  constructor(
    person: Person,
    project: Project,
    readonly git: Git,
  ) {
    super(person.api, project);
  }

  /** The page of a run, a job, … below the project. */
  page(path = ""): string {
    return `/${this.project.org}/${this.project.slug}${path}`;
  }

  /** Commits a directory's files, pushes, and gives the run's number. */
  async pushDirectory(directory: string, files: Record<string, string> = {}): Promise<number> {
    this.git.copy(join(ROOT, directory));
    this.git.write(files);
    await this.git.commit(`Push ${directory}`);
    return this.git.push();
  }

  /** Commits one `devenv.nix`, pushes, and gives the run's number. */
  async pushNix(nix: string): Promise<number> {
    this.git.write({ "devenv.nix": nix });
    await this.git.commit("Change devenv.nix");
    return this.git.push();
  }
}

/** The organisation that the tests' projects are in. */
const ORG = "analytical-engines";

/** Makes the organisation if it is not there, and a project in it. */
export async function createWorkspace(person: Person, settings: object = {}): Promise<Workspace> {
  const answer = await person.api.raw("GET", `/orgs/${ORG}`);
  if (answer.status === 404) await person.api.post("/orgs", { slug: ORG, display_name: "Analytical Engines" });
  const project: Project = await person.api.post(`/orgs/${ORG}/projects`, {
    slug: `p-${randomBytes(4).toString("hex")}`,
    description: "Made by a test",
    settings,
  });
  return new Workspace(person, project, await Git.create(project, person.token));
}

interface WorkerFixtures {
  /** A server that all tests of a worker share. */
  server: Server;
  /** Its first person. */
  person: Person;
}

interface TestFixtures {
  /** A new project of `person`. */
  workspace: Workspace;
  /** Starts servers that only this test uses. */
  startServer: (options?: Options) => Promise<Server>;
  /** A page, signed in as `person`. */
  signedIn: Page;
  /** Messages of the console that a test means to cause. */
  expectedMessages: RegExp[];
}

export const test = base.extend<TestFixtures, WorkerFixtures>({
  server: [
    async ({}, use) => {
      const server = await Server.start();
      await use(server);
      await server.remove();
    },
    { scope: "worker" },
  ],
  person: [
    async ({ server }, use) => {
      await use(await server.setUp());
    },
    { scope: "worker" },
  ],
  baseURL: async ({ server }, use) => {
    await use(server.url);
  },
  workspace: async ({ person }, use) => {
    const workspace = await createWorkspace(person);
    await use(workspace);
    workspace.git.remove();
  },
  startServer: async ({}, use, info) => {
    const servers: Server[] = [];
    await use(async (options) => {
      const server = await Server.start(options);
      servers.push(server);
      return server;
    });
    for (const [index, server] of servers.entries()) {
      if (info.status !== info.expectedStatus) {
        await info.attach(`server-${index}.log`, { body: server.log(), contentType: "text/plain" });
      }
      await server.remove();
    }
  },
  expectedMessages: [[], { option: true }],
  page: async ({ page, expectedMessages, javaScriptEnabled }, use) => {
    const messages: string[] = [];
    page.on("console", (message) => {
      // Without JavaScript, what was fetched for it stays unused.
      if (javaScriptEnabled === false && message.text().includes("was preloaded using link preload but not used")) return;
      if (["error", "warning"].includes(message.type())) messages.push(`${message.type()}: ${message.text()}`);
    });
    page.on("pageerror", (error) => messages.push(`exception: ${error.message}`));
    page.on("requestfailed", (request) => {
      // Streams end when a page is left; that is no failure.
      const failure = request.failure()?.errorText ?? "";
      if (failure === "net::ERR_ABORTED") return;
      // Without JavaScript, the browser itself refuses what a script would need.
      if (failure === "csp" && javaScriptEnabled === false) return;
      messages.push(`request: ${request.url()} ${failure}`);
    });
    await use(page);
    const unexpected = messages.filter((message) => !expectedMessages.some((pattern) => pattern.test(message)));
    expect(unexpected, "the browser's console stays silent").toEqual([]);
  },
  signedIn: async ({ page, person, server }, use) => {
    await signIn(page, server.url, person);
    await use(page);
  },
});

/** Signs in as the form does. */
export async function signIn(page: Page, url: string, person: { email: string; password: string }): Promise<void> {
  const answer = await page.request.post(`${url}/api/v1/session`, {
    data: { email: person.email, password: person.password },
    headers: { origin: url },
  });
  expect(answer.status(), await answer.text()).toBe(200);
}

/** Waits until the browser's side has taken the page over. */
export async function hydrated(page: Page): Promise<void> {
  await page.locator("html[data-hydrated]").waitFor({ state: "attached" });
}

/** Fails if axe finds anything. */
export async function expectAccessible(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page })
    .withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"])
    .analyze();
  const found = violations.map((violation) => ({
    rule: violation.id,
    help: violation.help,
    nodes: violation.nodes.map((node) => `${node.target.join(" ")}: ${node.failureSummary ?? ""}`),
  }));
  expect(found, `axe on ${page.url()}`).toEqual([]);
}
