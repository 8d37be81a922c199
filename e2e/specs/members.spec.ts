// Who is in an organisation, what they may do, and how they go.

import { look } from "../harness/look.ts";
import { join } from "../harness/people.ts";
import { expect, expectAccessible, hydrated, signIn } from "../harness/test.ts";
import { test } from "../harness/smtp.ts";

const ORG = "engines";

// The last owner is refused to be none any more.
test.use({ expectedMessages: [/409/] });

test("administrators change roles and remove members; members leave", async ({ page, startServer, mails, browser }) => {
  const server = await startServer({ environment: mails.environment });
  const ada = await server.setUp();
  await ada.api.post("/orgs", { slug: ORG, display_name: "Engines" });
  const grace = await join(server, mails, ada, ORG, "Grace");
  const linus = await join(server, mails, ada, ORG, "Linus");
  const members = `${server.url}/${ORG}/-/members`;
  const role = async (name: string): Promise<string> =>
    (await ada.api.get(`/orgs/${ORG}/members`)).items.find((member: any) => member.name === name)?.role;

  await signIn(page, server.url, ada);
  await page.goto(members);
  await hydrated(page);
  const list = page.getByRole("list", { name: "Members" });
  await expect(list.getByRole("listitem")).toHaveCount(3);
  const choice = page.getByRole("combobox", { name: "Role of Grace" });
  await expect(choice).toHaveValue("member");
  await choice.selectOption("viewer");
  await expect.poll(() => role("Grace")).toBe("viewer");
  await expect(choice).toHaveValue("viewer");
  await expectAccessible(page);

  // The last owner stays one, and reads why.
  const own = page.getByRole("combobox", { name: `Role of ${ada.name}` });
  await own.selectOption("member");
  await expect(list.getByText("make somebody else an owner first")).toBeVisible();
  await expect(own).toHaveValue("owner");

  await page.getByRole("button", { name: "Remove Grace" }).click();
  await expect(page.getByText("Remove Grace? They lose access to Engines at once.")).toBeVisible();
  await expectAccessible(page);
  await look(page, "members-remove");
  await page.getByRole("button", { name: "Cancel" }).click();
  expect(await role("Grace")).toBe("viewer");
  await page.getByRole("button", { name: "Remove Grace" }).click();
  await page.getByRole("button", { name: "Remove for good" }).click();
  await expect(list.getByRole("listitem")).toHaveCount(2);
  await expect.poll(() => role("Grace")).toBeUndefined();
  expect((await grace.session.raw("GET", `/orgs/${ORG}`)).status).toBe(404);

  const context = await browser.newContext();
  const other = await context.newPage();
  await signIn(other, server.url, linus);
  await other.goto(members);
  await hydrated(other);
  await expect(other.getByRole("combobox"), "members give no roles").toHaveCount(0);
  await expect(other.getByRole("button", { name: /^Remove/ })).toHaveCount(0);
  await other.getByRole("button", { name: "Leave Engines" }).click();
  await expectAccessible(other);
  await other.getByRole("button", { name: "Leave for good" }).click();
  await other.waitForURL(`${server.url}/`);
  await expect.poll(() => role("Linus")).toBeUndefined();
  await context.close();
});
