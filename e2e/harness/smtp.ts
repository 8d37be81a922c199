// A mail server that keeps what it is given, for us to read.

import { once } from "node:events";
import { type AddressInfo, type Server, type Socket, createServer } from "node:net";

import { test as base } from "./test.ts";

export interface Mail {
  to: string;
  subject: string;
  /** The plain text, its lines joined to paragraphs. */
  text: string;
  html: string;
  /** The address that is a paragraph of its own. */
  link: string;
}

export class MailServer {
  /** All mails, in the order of their arrival. */
  readonly mails: Mail[] = [];
  #read = new Set<Mail>();
  #waiting: (() => void)[] = [];
  #sockets = new Set<Socket>();

  private constructor(readonly server: Server) {}

  static async start(): Promise<MailServer> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const mails = new MailServer(server);
    server.on("connection", (socket) => mails.#serve(socket));
    return mails;
  }

  /** The configuration that sends mails here. */
  get environment(): Record<string, string> {
    const { port } = this.server.address() as AddressInfo;
    return {
      DEVENV_CLOUD_MAIL_SMTP_URL: `smtp://127.0.0.1:${port}`,
      DEVENV_CLOUD_MAIL_FROM: "CI <ci@example.org>",
    };
  }

  /** The next mail to this address that nobody has read; waits for it. */
  async next(to: string): Promise<Mail> {
    for (;;) {
      const mail = this.mails.find((mail) => mail.to === to && !this.#read.has(mail));
      if (mail) {
        this.#read.add(mail);
        return mail;
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.server.close();
    await once(this.server, "close");
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    // A server that is killed hangs up in the middle.
    socket.on("error", () => {});
    socket.setEncoding("latin1");
    const say = (line: string) => socket.write(`${line}\r\n`);
    let rest = "";
    let to: string[] = [];
    let data: string[] | undefined;
    say("220 localhost");
    socket.on("data", (chunk: string) => {
      const lines = (rest + chunk).split("\r\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (data && line !== ".") {
          data.push(line.replace(/^\./, ""));
        } else if (data) {
          const message = data.join("\r\n");
          this.mails.push(...to.map((to) => ({ to, ...read(message) })));
          for (const wake of this.#waiting.splice(0)) wake();
          [to, data] = [[], undefined];
          say("250 kept");
        } else if (/^(EHLO|HELO)/i.test(line)) {
          say("250 localhost");
        } else if (/^DATA/i.test(line)) {
          data = [];
          say("354 go on");
        } else if (/^QUIT/i.test(line)) {
          socket.end("221 bye\r\n");
        } else {
          const recipient = /^RCPT TO:<(.*)>/i.exec(line)?.[1];
          if (recipient) to.push(recipient);
          say(/^(MAIL|RCPT|RSET|NOOP)/i.test(line) ? "250 ok" : "502 not known here");
        }
      }
    });
  }
}

/** What stands in a message; `latin1` holds its bytes. */
function read(message: string): Omit<Mail, "to"> {
  const [head, body] = halves(message);
  const boundary = /boundary="?([^";\r\n]+)/i.exec(head)?.[1];
  if (!boundary) throw new Error(`not a mail of two parts:\n${message}`);
  const parts = body.split(`--${boundary}`).map((part) => part.replace(/^\r\n/, ""));
  const part = (type: string) => {
    const found = parts.map(halves).find(([head]) => head.toLowerCase().includes(`content-type: ${type}`));
    if (!found) throw new Error(`no ${type} in this mail:\n${message}`);
    return decoded(...found);
  };
  const text = part("text/plain");
  return {
    subject: /^subject: (.*(?:\r\n[ \t].*)*)/im.exec(head)?.[1]?.replace(/\r\n/g, "") ?? "",
    text: text.split(/\n\n+/).map((paragraph) => paragraph.replace(/\s+/g, " ")).join("\n"),
    html: part("text/html"),
    link: /\n\n(https?:\/\/\S+)\n/.exec(text)?.[1] ?? "",
  };
}

function halves(message: string): [head: string, body: string] {
  const at = message.indexOf("\r\n\r\n");
  return [message.slice(0, at), message.slice(at + 4)];
}

function decoded(head: string, body: string): string {
  const encoding = /^content-transfer-encoding: *(\S+)/im.exec(head)?.[1]?.toLowerCase() ?? "7bit";
  let bytes = Buffer.from(body, encoding === "base64" ? "base64" : "latin1");
  if (encoding === "quoted-printable") {
    const plain = body
      .replace(/=\r\n/g, "")
      .replace(/=([0-9A-F]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
    bytes = Buffer.from(plain, "latin1");
  }
  return bytes.toString("utf8").replaceAll("\r\n", "\n");
}

/** Tests with a mail server. */
export const test = base.extend<{ mails: MailServer }>({
  mails: async ({}, use) => {
    const mails = await MailServer.start();
    await use(mails);
    await mails.stop();
  },
});
