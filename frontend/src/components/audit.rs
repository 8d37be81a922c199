//! The audit log: who did what, from where, and what came of it. The filter is a
//! plain form whose answer has an address, so it works without a script and can
//! be handed on.

use devenv_cloud_api::{
    audit::{AuditAction, AuditEntry, AuditOutcome},
    page::Page,
};
use leptos::prelude::*;

use super::{
    load::{Empty, Load},
    time::Ago,
};
use crate::{
    asked::ask,
    context::use_api,
    format,
    pages::{account::sessions::method_in_words, query},
};

/// What was done, in the words of people. The one place for them.
const fn words(action: AuditAction) -> &'static str {
    use AuditAction as A;
    match action {
        A::SignIn => "Signed in",
        A::SignOut => "Signed out",
        A::StepUp => "Confirmed who they are",
        A::EndSession => "Ended sessions",
        A::ProviderSignOut => "Sessions ended by a provider",
        A::CreateAccount => "Created an account",
        A::DisableAccount => "Disabled an account",
        A::EnableAccount => "Enabled an account",
        A::ChangePassword => "Changed the password",
        A::AskReset => "Asked for a new password",
        A::ResetPassword => "Reset the password",
        A::AskEmail => "Asked to change the e-mail address",
        A::ChangeEmail => "Changed the e-mail address",
        A::VerifyEmail => "Confirmed the e-mail address",
        A::AddPasskey => "Added a passkey",
        A::RenamePasskey => "Renamed a passkey",
        A::RemovePasskey => "Removed a passkey",
        A::SuspectPasskey => "A passkey may have been copied",
        A::AddCodes => "Set up one-time codes",
        A::RemoveCodes => "Removed one-time codes",
        A::MakeRecoveryCodes => "Made recovery codes",
        A::UseRecoveryCode => "Used a recovery code",
        A::LinkAccount => "Linked an account",
        A::UnlinkAccount => "Removed a linked account",
        A::CreateToken => "Created a token",
        A::RevokeToken => "Revoked a token",
        A::DecideDevice => "Decided on a command line",
        A::Invite => "Invited somebody",
        A::RevokeInvitation => "Took an invitation back",
        A::AcceptInvitation => "Accepted an invitation",
        A::AddMember => "Added a member",
        A::ChangeRole => "Changed a role",
        A::RemoveMember => "Removed a member",
        A::ChangePolicy => "Changed what sign-in takes",
        A::CreateOrg => "Created an organisation",
        A::DeleteOrg => "Deleted an organisation",
        A::DeleteProject => "Deleted a project",
        A::CreateRunnerToken => "Created a token for runners",
        A::RevokeRunnerToken => "Revoked a token for runners",
        A::RegisterRunner => "A machine became a runner",
        A::RevokeRunner => "Revoked a runner",
        A::RotateKey => "Made a new signing key",
    }
}

/// The question for the API that the page's address asks, without the cursor.
fn asked_for(action: &str, outcome: &str, text: &str, from: &str, until: &str) -> String {
    let mut out = String::new();
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            out.push_str(&format!("&{name}={}", format::query_value(&value)));
        }
    };
    add("action", action.to_owned());
    add("outcome", outcome.to_owned());
    add("text", text.to_owned());
    let moment =
        |day: &str, time: &str| if day.is_empty() { String::new() } else { format!("{day}T{time}Z") };
    add("from", moment(from, "00:00:00"));
    add("until", moment(until, "23:59:59.999999"));
    out
}

/// The log at `path` of the API, with its filter, its pages and its export.
#[component]
pub fn AuditLog(path: String) -> impl IntoView {
    let api = use_api();
    let path = StoredValue::new(path);
    let (action, outcome, text) = (query("action"), query("outcome"), query("text"));
    let (from, until, cursor) = (query("from"), query("until"), query("cursor"));
    let filter =
        Memo::new(move |_| asked_for(&action.get(), &outcome.get(), &text.get(), &from.get(), &until.get()));
    let asked = ask::<Page<AuditEntry>, _>(move || {
        let (api, path, filter, cursor) = (api.clone(), path.get_value(), filter.get(), cursor.get());
        async move {
            let cursor = if cursor.is_empty() { cursor } else { format!("&cursor={cursor}") };
            Ok(api.get(&format!("{path}?limit=50{filter}{cursor}")).await?)
        }
    });
    let show = move |page: Page<AuditEntry>| {
        let next = page.next_cursor.map(|next| {
            // The same question, further on; in the page's own words.
            let mut href = format!("?cursor={next}");
            for (name, value) in
                [("action", action), ("outcome", outcome), ("text", text), ("from", from), ("until", until)]
            {
                let value = value.get_untracked();
                if !value.is_empty() {
                    href.push_str(&format!("&{name}={}", format::query_value(&value)));
                }
            }
            view! {
                <p>
                    <a class="button" href=href>
                        "Older entries"
                    </a>
                </p>
            }
        });
        if page.items.is_empty() {
            return view! {
                <Empty title="Nothing here">
                    <p>"Nothing fits. Leave the filter empty to see all."</p>
                </Empty>
            }
            .into_any();
        }
        view! {
            <ul class="rows" aria-label="Audit log">
                {page.items.into_iter().map(|entry| view! { <Entry entry /> }).collect_view()}
            </ul>
            {next}
        }
        .into_any()
    };
    view! {
        <form class="audit-filter" method="get">
            <div class="field">
                <label for="audit-text">"Person, name or address"</label>
                <input id="audit-text" type="search" name="text" value=move || text.get() autocomplete="off" />
            </div>
            <div class="field">
                <label for="audit-action">"Action"</label>
                <select id="audit-action" name="action">
                    <option value="">"all"</option>
                    {AuditAction::ALL
                        .iter()
                        .map(|it| {
                            view! {
                                <option value=it.as_str() selected=action.get_untracked() == it.as_str()>
                                    {words(*it)}
                                </option>
                            }
                        })
                        .collect_view()}
                </select>
            </div>
            <div class="field">
                <label for="audit-outcome">"Outcome"</label>
                <select id="audit-outcome" name="outcome">
                    <option value="">"all"</option>
                    {AuditOutcome::ALL
                        .iter()
                        .map(|it| {
                            view! {
                                <option value=it.as_str() selected=outcome.get_untracked() == it.as_str()>
                                    {it.as_str()}
                                </option>
                            }
                        })
                        .collect_view()}
                </select>
            </div>
            <div class="field">
                <label for="audit-from">"From"</label>
                <input id="audit-from" type="date" name="from" value=move || from.get() />
            </div>
            <div class="field">
                <label for="audit-until">"Until"</label>
                <input id="audit-until" type="date" name="until" value=move || until.get() />
            </div>
            <div class="form-actions">
                <button class="button">"Show"</button>
                <a
                    class="button"
                    rel="external"
                    download="audit.jsonl"
                    href=move || format!("/api/v1{}/export?{}", path.get_value(), filter.get().trim_start_matches('&'))
                >
                    "Export"
                </a>
            </div>
        </form>
        <Load asked what="the audit log" view=show />
    }
}

#[component]
fn Entry(entry: AuditEntry) -> impl IntoView {
    let AuditEntry { at, action, outcome, actor, subject, method, target, ip, user_agent, .. } = entry;
    let about = if subject == actor { String::new() } else { subject };
    let refused = outcome == AuditOutcome::Refused;
    // What the server does by itself comes from nowhere.
    let by_itself = actor.is_empty() && ip == "0.0.0.0";
    let who = match actor {
        _ if by_itself => "the server".to_owned(),
        actor if actor.is_empty() => "somebody unknown".to_owned(),
        actor => actor,
    };
    let ip = if by_itself { String::new() } else { ip };
    let detail: Vec<String> = [about, target, method.map(method_in_words).unwrap_or_default().to_owned()]
        .into_iter()
        .filter(|it| !it.is_empty())
        .collect();
    view! {
        <li class="row audit-row">
            <span class="row-title">
                {words(action)} {refused.then(|| view! { <span class="audit-refused">" · refused"</span> })}
            </span>
            <span class="clip" title=who.clone()>
                {who.clone()}
            </span>
            <span class="muted clip" title=detail.join(", ")>
                {detail.join(", ")}
            </span>
            <span class="muted clip" title=user_agent>
                {ip}
            </span>
            <span class="muted row-end">
                <Ago time=at />
            </span>
        </li>
    }
}

#[cfg(test)]
mod tests {
    use super::asked_for;

    #[test]
    fn a_filter_asks_for_whole_days_and_escapes_words() {
        assert_eq!(asked_for("", "", "", "", ""), "");
        assert_eq!(
            asked_for("sign-in", "refused", "a&b c", "2026-01-01", "2026-01-02"),
            "&action=sign-in&outcome=refused&text=a%26b%20c&from=2026-01-01T00%3A00%3A00Z&until=2026-01-02T23%3A59%3A59.999999Z"
        );
    }
}
