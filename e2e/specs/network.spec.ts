// What a job can reach, from a real machine: by policy, and only what is public
// or what the administrator has named.

import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";

import { createWorkspace, expect, expectAccessible, hydrated, signIn, test, type Workspace } from "../harness/test.ts";
import type { Person, Server } from "../harness/server.ts";

/** Not among what programs take for the machine itself (`no_proxy`). */
const ADDRESS = "127.0.0.2";
const LARGE = randomBytes(8 << 20);

/** A web server of this host, which only an administrator can let jobs reach. */
class Inside {
  readonly seen: string[] = [];
  /** Connections whose answers nobody reads. */
  readonly endless = new Set<IncomingMessage>();
  readonly #server: HttpServer;

  constructor() {
    this.#server = createServer(async (request, response) => {
      this.seen.push(`${request.method} ${request.url}`);
      if (request.url === "/hello") return response.end("hello from inside\n");
      if (request.url === "/large") return response.end(LARGE);
      if (request.url === "/redirect") {
        return response.writeHead(302, { location: "http://169.254.169.254/latest/meta-data/" }).end();
      }
      if (request.url === "/upload") {
        const hash = createHash("sha256");
        for await (const chunk of request) hash.update(chunk);
        return response.end(`${hash.digest("hex")}\n`);
      }
      if (request.url === "/endless") {
        this.endless.add(request);
        request.on("close", () => this.endless.delete(request));
        response.on("close", () => this.endless.delete(request));
        const more = () => {
          while (!response.destroyed && response.write(LARGE.subarray(0, 65536)));
        };
        response.on("drain", more);
        return more();
      }
      return response.writeHead(404).end();
    });
  }

  async start(): Promise<number> {
    this.#server.listen(0, ADDRESS);
    await once(this.#server, "listening");
    return (this.#server.address() as AddressInfo).port;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

interface Scene {
  inside: Inside;
  /** Where it is. */
  url: string;
  port: number;
  server: Server;
  person: Person;
  /** A project with these settings. */
  project: (settings: object) => Promise<Workspace>;
}

const scene = test.extend<{ scene: Scene }>({
  scene: async ({ startServer }, use) => {
    const inside = new Inside();
    const port = await inside.start();
    const server = await startServer({
      environment: { DEVENV_CLOUD_EXECUTOR_NETWORK_INTERNAL: `${ADDRESS}:${port}`, DEVENV_CLOUD_EXECUTOR_POOL: "0" },
    });
    const person = await server.setUp();
    const made: Workspace[] = [];
    const project = async (settings: object) => {
      made.push(await createWorkspace(person, settings));
      return made.at(-1) as Workspace;
    };
    await use({ inside, url: `http://${ADDRESS}:${port}`, port, server, person, project });
    for (const workspace of made) workspace.git.remove();
    inside.stop();
  },
});

/** Runs a script as the only task; gives what it and the system wrote, and the attributes of the network's span. */
async function run(workspace: Workspace, script: string) {
  const number = await workspace.pushNix(`{ tasks."it:reaches".exec = ''\n${script.replaceAll("${", "''${")}\n''; }`);
  const ended = await workspace.ended(number);
  const text = await workspace.text(number);
  expect(ended.state, text).toBe("success");
  const trace = await workspace.trace(number);
  const network = trace.spans.find((span) => span.name === "network");
  return { number, text, network: network?.attributes ?? {} };
}

scene("with the policy off, a job reaches nothing and is told why", async ({ scene }) => {
  const { inside, url, project } = scene;
  const workspace = await project({ network: "off" });
  const { text, network } = await run(
    workspace,
    `
      env | grep -i _proxy && exit 1
      curl -sS --max-time 20 ${url}/hello && exit 1
      echo "directly: $?"
      curl -sS -x http://127.0.0.1:3128 -w 'status %{http_code}\\n' ${url}/hello
      curl -sS -x http://127.0.0.1:3128 https://example.org/ || echo "tunnel: $?"
    `,
  );
  expect(text).toContain("the network policy of this project is off; an admin can change it");
  expect(text).toContain("status 403");
  expect(text).toContain("tunnel: 56");
  expect(text).toContain("warning: no connection to example.org:443: the network policy of this project is off");
  expect(network["devenv_cloud.network.connection.refused"]).toBe("2");
  expect(network["devenv_cloud.network.io.receive"]).toBe("0");
  expect(inside.seen).toEqual([]);
});

scene("what the administrator named is reached, and every byte is counted", async ({ scene }) => {
  const { inside, url, port, project } = scene;
  const workspace = await project({ network: "allow_list", network_hosts: ["cache.nixos.org"] });
  const { text, network } = await run(
    workspace,
    `
      echo "proxy $https_proxy"
      curl -sS --fail ${url}/hello
      curl -sS --fail --proxytunnel ${url}/hello
      curl -sS --fail ${url}/large | sha256sum
      head -c 3000000 /dev/urandom > upload
      sha256sum < upload
      curl -sS --fail -T upload ${url}/upload
      for i in $(seq 20); do curl -sS --fail ${url}/hello > hello-$i & done
      wait
      cat hello-* | sort | uniq -c
      nix-prefetch-url ${url}/large > /dev/null && echo prefetched
      curl -sS -w 'listed: %{http_code}\\n' http://example.com/
    `,
  );
  expect(text).toContain("proxy http://127.0.0.1:3128");
  expect(text.match(/^hello from inside$/gm)).toHaveLength(2);
  expect(text).toContain(createHash("sha256").update(LARGE).digest("hex"));
  expect(text).toMatch(/20 hello from inside/);
  expect(text).toContain("prefetched");
  const hashes = [...text.matchAll(/^([0-9a-f]{64})(?: {2}-)?$/gm)].map((found) => found[1]);
  expect(hashes[1], "what was sent is what arrived").toBe(hashes[2]);
  expect(text).toContain("listed: 403");
  expect(text).toContain("example.com:80 is not among the hosts that jobs of this project may reach");

  const host = network[`devenv_cloud.network.host.${ADDRESS}:${port}`] ?? "";
  const [, connections, sent, received] = /^(\d+) connections, sent (\d+) B, received (\d+) B$/.exec(host) ?? [];
  expect(Number(connections), host).toBe(inside.seen.length);
  expect(Number(sent)).toBeGreaterThan(3_000_000);
  expect(Number(received)).toBeGreaterThan(2 * LARGE.length);
  expect(Number(received)).toBeLessThan(2 * LARGE.length + 100_000);
});

scene("addresses that are not public are refused, however they are asked for", async ({ scene }) => {
  const { inside, url, server, project } = scene;
  const workspace = await project({});
  const own = new URL(server.url).port;
  const targets = {
    [`http://127.0.0.1:${own}/`]: "a loopback address",
    [`http://[::1]:${own}/`]: "a loopback address",
    [`http://[::ffff:127.0.0.1]:${own}/`]: "a loopback address",
    [`http://localhost:${own}/`]: "a loopback address",
    "http://169.254.169.254/latest/meta-data/": "metadata service",
    "http://[fd00:ec2::254]/": "metadata service",
    "http://10.0.0.1/": "a private address",
    "http://192.168.1.1/": "a private address",
    "http://0.0.0.0/": "an address of no host",
  };
  const { text, network } = await run(
    workspace,
    [
      ...Object.keys(targets).map(
        (target) => `curl -sS -g --noproxy "" -w ' status %{http_code}\\n' '${target}' | sed 's|^|${target} |'`,
      ),
      `curl -sS -L -w 'redirected: %{http_code}\\n' ${url}/redirect`,
      // Numbers that some resolvers take for addresses; curl would write them as such.
      `exec 3<>/dev/tcp/127.0.0.1/3128`,
      `printf 'CONNECT 2130706433:${own} HTTP/1.1\\r\\n\\r\\n' >&3; head -n 1 <&3`,
    ].join("\n"),
  );
  const lines = text.split("\n");
  for (const [target, words] of Object.entries(targets)) {
    const line = lines.find((line) => line.startsWith(`${target} `) && line.includes("public addresses only"));
    expect(line, `${target}\n${text}`).toContain(words);
    expect(text).toContain(`${target}  status 403`);
  }
  expect(text).toContain("redirected: 403");
  expect(text).toContain("HTTP/1.1 403 Forbidden");
  expect(inside.seen).toEqual(["GET /redirect"]);
  expect(network["devenv_cloud.network.connection.count"]).toBe("1");
});

scene("a download that nobody reads holds up nothing, and ends with its job", async ({ scene }) => {
  const { inside, url, project } = scene;
  const workspace = await project({});
  const { text } = await run(
    workspace,
    `
      exec 3<>/dev/tcp/127.0.0.1/3128
      printf 'GET ${url}/endless HTTP/1.1\\r\\n\\r\\n' >&3
      head -c 100 <&3 > /dev/null
      for i in $(seq 1 2000); do echo "line $i"; done
      curl -sS --fail ${url}/large | sha256sum
      grep MemAvailable /proc/meminfo
    `,
  );
  for (const line of [1, 1000, 2000]) expect(text).toContain(`line ${line}\n`);
  expect(text).toContain(createHash("sha256").update(LARGE).digest("hex"));
  expect(inside.seen).toContain("GET /endless");
  await expect.poll(() => inside.endless.size).toBe(0);
});

scene.describe("on a page", () => {
  // What is wrong with the hosts is the server's word.
  scene.use({ expectedMessages: [/status of 422/] });

  scene("the policy is chosen", async ({ scene, page }) => {
    const { server, person, project } = scene;
    const workspace = await project({});
    await signIn(page, server.url, person);
    await page.goto(`${server.url}${workspace.page("/settings/network")}`);
    await hydrated(page);
    await expect(page.getByLabel("Jobs may reach")).toHaveValue("internet");
    await expectAccessible(page);
    await page.getByLabel("Jobs may reach").selectOption("the hosts below");
    await page.getByLabel("Hosts").fill("https://example.org/");
    await page.getByRole("button", { name: "Save" }).click();
    await expect(page.getByText("write the host alone")).toBeVisible();
    await page.getByLabel("Hosts").fill("example.org\n*.nixos.org");
    await page.getByRole("button", { name: "Save" }).click();
    await expect(page.getByText("Saved.")).toBeVisible();
    const { org, slug } = workspace.project;
    const { settings } = await person.api.get(`/orgs/${org}/projects/${slug}`);
    expect(settings).toMatchObject({ network: "allow_list", network_hosts: ["example.org", "*.nixos.org"] });
  });
});
