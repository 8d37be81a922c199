// More people than the first one.

import { randomBytes } from "node:crypto";

import { Api } from "./api.ts";
import type { Person, Server } from "./server.ts";
import type { MailServer } from "./smtp.ts";

/** The token of a link in a mail. */
export function tokenOf(link: string): string {
  const token = new URL(link).searchParams.get("token");
  if (!token) throw new Error("the link has no token");
  return token;
}

/** Somebody who was invited to an organisation, has an account and is a member. */
export async function join(
  server: Server,
  mails: MailServer,
  admin: Person,
  org: string,
  name: string,
  role = "member",
): Promise<Person> {
  const email = `${name.toLowerCase().replace(/\W+/g, ".")}@example.org`;
  const password = randomBytes(12).toString("hex");
  await admin.session.post(`/orgs/${org}/invitations`, { email, role });
  const { link } = await mails.next(email);
  const session = new Api(server.url);
  await session.post("/invitation/accept", { token: tokenOf(link), name, password });
  await session.post("/session", { email, password });
  const { secret } = await session.post("/account/tokens", { name: "end to end", scopes: ["read"], expires_in_days: 7 });
  return { email, name, password, token: secret, api: session.withToken(secret), session };
}
