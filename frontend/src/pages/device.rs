//! `/device`: the login of a command line waits for a person's word. Plain
//! forms that work without a script. A code in the address fills in the form
//! and approves nothing.

use devenv_cloud_api::{accounts::Viewer, issuer::DeviceLogin, permissions::Scope};
use leptos::prelude::*;
use leptos_meta::Title;

use super::{query, sign_in::Brand};
use crate::{
    asked::ask,
    components::{form::Field, load::Load, time::Ago},
    context::{Outcome, use_api},
    failure::Failure,
    format,
};

/// Shows the page that fits the address.
#[component]
pub fn Device() -> impl IntoView {
    let code = query("user_code");
    let done = query("done");
    let kind = query("problem");
    view! {
        <Title text="Connect a command line" />
        <main class="door">
            <Brand />
            {move || match (done.get().as_str(), code.get()) {
                ("allowed", _) => {
                    view! {
                        <h1>"Connected"</h1>
                        <p>"Go back to your terminal: it is signed in. Its token is listed under your account."</p>
                        <p><a class="button" href="/account">"Your account"</a></p>
                    }
                        .into_any()
                }
                ("denied", _) => {
                    view! {
                        <h1>"Refused"</h1>
                        <p>"The command line gets nothing. If it was not yours, somebody tried to get in: tell an administrator."</p>
                    }
                        .into_any()
                }
                (_, code) if !code.is_empty() => view! { <Confirm code /> }.into_any(),
                _ => {
                    let problem = match kind.get().as_str() {
                        "" => None,
                        "rate-limited" => Some("There were too many codes. Wait a few minutes, then try again."),
                        _ => Some("That did not work. Begin anew with the code from your terminal."),
                    };
                    view! { <Type problem=problem.unwrap_or_default() /> }.into_any()
                }
            }}
        </main>
    }
}

/// The code is to be typed.
#[component]
fn Type(problem: &'static str) -> impl IntoView {
    view! {
        <h1>"Connect a command line"</h1>
        {(!problem.is_empty()).then(|| view! { <p class="notice is-failure" role="alert">{problem}</p> })}
        <form class="form" method="get" action="/device">
            <Field
                label="Code"
                name="user_code"
                autocomplete="off"
                hint="Eight letters, as your terminal shows them."
            />
            <div class="form-actions">
                <button class="button primary">"Continue"</button>
            </div>
        </form>
    }
}

/// Somebody waits under the code, or nobody does.
#[component]
fn Confirm(code: String) -> impl IntoView {
    let api = use_api();
    let asked = ask(move || {
        let api = api.clone();
        let path = format!("/device-login?user_code={}", format::query_value(&code));
        async move {
            let viewer: Viewer = api.get("/session").await?;
            match api.get::<DeviceLogin>(&path).await.map_err(Failure::from) {
                Ok(login) => Ok((viewer, Some(login))),
                Err(failure) if failure.is_not_found() => Ok((viewer, None)),
                Err(failure) => Err(failure),
            }
        }
    });
    view! {
        <Load
            asked
            what="the login"
            view=move |(viewer, login): (Viewer, Option<DeviceLogin>)| match login {
                Some(login) => view! { <Question viewer login /> }.into_any(),
                None => {
                    if let Some(outcome) = use_context::<Outcome>() {
                        outcome.set_status(404);
                    }
                    view! { <Type problem="With this code no login waits (any more). A code works once, within ten minutes." /> }
                        .into_any()
                }
            }
        />
    }
}

#[component]
fn Question(viewer: Viewer, login: DeviceLogin) -> impl IntoView {
    view! {
        <h1>"Connect a command line?"</h1>
        <p>
            "A program wants to act as " <strong>{viewer.user.email}</strong>
            ". Allow it only if you started it yourself just now, and your terminal shows this code:"
        </p>
        <p class="user-code">{login.user_code.clone()}</p>
        <dl class="asking">
            <dt>"Program"</dt>
            <dd>{login.client.id}</dd>
            <dt>"Says that it is"</dt>
            <dd>{login.user_agent}</dd>
            <dt>"From"</dt>
            <dd><code>{login.ip}</code></dd>
            <dt>"Asked"</dt>
            <dd><Ago time=login.created_at /></dd>
            <dt>"May"</dt>
            <dd>{scope_words(&login.scopes)}</dd>
        </dl>
        <p class="notice is-timeout">
            "Did somebody send you this link or the code, in a mail, a chat or a call? Then refuse: they want to get in as you."
        </p>
        <form class="form" method="post" action="/device">
            <input type="hidden" name="user_code" value=login.user_code />
            <div class="form-actions">
                <button class="button primary" name="word" value="allow">"Allow"</button>
                <button class="button" name="word" value="deny">"Deny"</button>
            </div>
        </form>
    }
}

/// What a token of these scopes is good for.
pub(super) fn scope_words(scopes: &[Scope]) -> String {
    let words = scopes.iter().map(|scope| match scope {
        Scope::Read => "read what you can read",
        Scope::Write => "push, start and cancel runs",
        Scope::Admin => "manage projects, members and settings",
    });
    words.collect::<Vec<_>>().join("; ")
}
