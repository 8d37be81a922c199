// The REST API as a script uses it. Only the fields that the tests read.

export type State =
  | "queued"
  | "running"
  | "success"
  | "failure"
  | "error"
  | "timeout"
  | "cancellation"
  | "skip";

export interface Stage {
  span: string;
  stage: string;
  name: string;
  state: State;
  started_at: string;
  finished_at?: string;
  exit_status?: number;
}

export interface Annotation {
  message: string;
  file?: string;
  line?: number;
}

export interface Attempt {
  id: string;
  number: number;
  state: State;
  reason?: string;
  exit_status?: number;
  stages: Stage[];
  annotations: Annotation[];
}

export interface Job {
  id: string;
  name: string;
  state: State;
  attempts: Attempt[];
}

export interface Run {
  org: string;
  project: string;
  number: number;
  state: State;
  reason?: string;
  commit: { sha: string; git_ref: string; title: string };
  jobs: Job[];
}

export interface Span {
  name: string;
  stage?: string;
  finished_at?: string;
  attributes: Record<string, string>;
}

export interface Trace {
  spans: Span[];
}

export interface LogLine {
  number: number;
  span: string;
  stream: "stdout" | "stderr" | "system";
  text: string;
}

export interface LogWindow {
  lines: LogLine[];
  total: number;
  dropped: number;
}

export interface Project {
  org: string;
  slug: string;
  clone_url: string;
}

export interface ServerEvent {
  id?: string;
  data: any;
}

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly problem: any,
    request: string,
  ) {
    super(`${request}: ${status} ${JSON.stringify(problem)}`);
  }
}

export class Api {
  #cookie: string | undefined;

  constructor(
    readonly url: string,
    readonly token?: string,
  ) {}

  withToken(token: string): Api {
    return new Api(this.url, token);
  }

  /** A request as it is, whatever the answer. */
  async raw(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> {
    const response = await fetch(`${this.url}/api/v1${path}`, {
      method,
      redirect: "manual",
      headers: {
        ...(this.token ? { authorization: `Bearer ${this.token}` } : {}),
        // A session is a browser's: it says which page a request comes from.
        ...(this.#cookie ? { cookie: this.#cookie, origin: this.url } : {}),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const cookie = response.headers.getSetCookie()[0];
    if (cookie) this.#cookie = cookie.split(";")[0];
    return response;
  }

  async #json(method: string, path: string, body?: unknown): Promise<any> {
    const response = await this.raw(method, path, body);
    const text = await response.text();
    let answer: unknown = text;
    try {
      answer = text === "" ? null : JSON.parse(text);
    } catch {
      // The text says it.
    }
    if (!response.ok) throw new ApiError(response.status, answer, `${method} ${path}`);
    return answer;
  }

  get(path: string) {
    return this.#json("GET", path);
  }

  post(path: string, body: unknown = {}) {
    return this.#json("POST", path, body);
  }

  patch(path: string, body: unknown) {
    return this.#json("PATCH", path, body);
  }

  delete(path: string) {
    return this.#json("DELETE", path);
  }

  /** Server-sent events, until the server ends the stream or the reader stops. */
  async *events(path: string, headers: Record<string, string> = {}): AsyncGenerator<ServerEvent> {
    const stop = new AbortController();
    const response = await fetch(`${this.url}/api/v1${path}`, {
      headers: { accept: "text/event-stream", authorization: `Bearer ${this.token}`, ...headers },
      signal: stop.signal,
    });
    if (!response.ok || !response.body) throw new ApiError(response.status, await response.text(), `GET ${path}`);
    try {
      let rest = "";
      for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
        rest += chunk;
        const blocks = rest.split(/\r?\n\r?\n/);
        rest = blocks.pop() ?? "";
        for (const block of blocks) {
          const fields = block.split(/\r?\n/).map((line) => /^(\w+): ?(.*)$/.exec(line));
          const all = (name: string) => fields.filter((field) => field?.[1] === name).map((field) => field?.[2] ?? "");
          const data = all("data").join("\n");
          if (data !== "") yield { id: all("id")[0], data: JSON.parse(data) };
        }
      }
    } finally {
      stop.abort();
    }
  }
}

/** What one can ask about one project. */
export class ProjectApi {
  constructor(
    readonly api: Api,
    readonly project: Project,
  ) {}

  get path(): string {
    return `/orgs/${this.project.org}/projects/${this.project.slug}`;
  }

  run(number: number): Promise<Run> {
    return this.api.get(`${this.path}/runs/${number}`);
  }

  async runs(query = ""): Promise<Run[]> {
    return (await this.api.get(`${this.path}/runs${query}`)).items;
  }

  /** Follows the run's events until it has ended. */
  async ended(number: number): Promise<Run> {
    for await (const event of this.api.events(`${this.path}/runs/${number}/events`)) {
      if (event.data.event === "end") break;
    }
    return this.run(number);
  }

  /** The newest job of a run; there is one as long as nobody asks for more platforms. */
  async job(number: number): Promise<Job> {
    const job = (await this.run(number)).jobs[0];
    if (!job) throw new Error(`run ${number} has no job`);
    return job;
  }

  /** Reads the job's live lines, and gives them all once one of them matches. */
  async untilLine(number: number, pattern: RegExp): Promise<LogLine[]> {
    const job = await this.job(number);
    const lines: LogLine[] = [];
    for await (const event of this.api.events(`${this.path}/runs/${number}/jobs/${job.name}/events`)) {
      if (event.data.event === "lines") {
        lines.push(...event.data.lines);
        if (event.data.lines.some((line: LogLine) => pattern.test(line.text))) return lines;
      }
      if (event.data.event === "end") break;
    }
    const said = lines.slice(-20).map((line) => line.text);
    throw new Error(`the job ended without a line like ${pattern}; it said:\n${said.join("\n")}`);
  }

  async trace(number: number): Promise<Trace> {
    const job = await this.job(number);
    return this.api.get(`${this.path}/runs/${number}/jobs/${job.name}/trace`);
  }

  async log(number: number, query = ""): Promise<LogWindow> {
    const job = await this.job(number);
    return this.api.get(`${this.path}/runs/${number}/jobs/${job.name}/log${query}`);
  }

  async text(number: number, attempt?: number): Promise<string> {
    const job = await this.job(number);
    const query = attempt === undefined ? "" : `?attempt=${attempt}`;
    const response = await this.api.raw("GET", `${this.path}/runs/${number}/jobs/${job.name}/log.txt${query}`);
    if (!response.ok) throw new ApiError(response.status, await response.text(), "log.txt");
    return response.text();
  }
}
