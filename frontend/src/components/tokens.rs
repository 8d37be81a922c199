//! Tokens: the list, and the form that creates one and shows its secret once.

use devenv_cloud_api::{
    accounts::{CreateToken, NewToken, Token},
    permissions::Scope,
};
use leptos::prelude::*;

use crate::{
    components::{
        code::Code,
        form::{ApiForm, Check, Choice, Field, Outcome, Submit},
        time::{Ago, Until},
    },
    context::{use_alive, use_api},
    failure::Failure,
};

/// Creates a token and shows the secret.
#[component]
pub fn CreateTokenForm(
    /// Where tokens are created, below the API's prefix.
    path: String,
) -> impl IntoView {
    let api = use_api();
    let name = RwSignal::new(String::new());
    let (read, write, admin) = (RwSignal::new(true), RwSignal::new(true), RwSignal::new(false));
    let days = RwSignal::new("90".to_owned());
    let secret = RwSignal::new(None::<NewToken>);
    let submit = Submit::new();
    let send = move || {
        let scopes: Vec<Scope> = [(read, Scope::Read), (write, Scope::Write), (admin, Scope::Admin)]
            .into_iter()
            .filter(|(on, _)| on.get_untracked())
            .map(|(_, scope)| scope)
            .collect();
        if scopes.is_empty() {
            return submit.refuse(Failure::local("Choose what the token may do"));
        }
        let body = CreateToken {
            name: name.get_untracked().trim().to_owned(),
            scopes,
            expires_in_days: days.get_untracked().parse().unwrap_or(90),
        };
        let (api, path) = (api.clone(), path.clone());
        // The list is read again when the secret is put away, so that it cannot vanish unread.
        submit.send(async move { api.post::<_, NewToken>(&path, &body).await }, move |token| {
            secret.set(Some(token));
            name.set(String::new());
        });
    };
    view! {
        {move || {
            secret
                .get()
                .map(|token| {
                    view! {
                        <div class="notice is-success new-token">
                            <strong>"This is “" {token.token.name} "”. It is shown this once."</strong>
                            <Code text=token.secret what="the token" />
                            <p class="muted">"Keep it where you keep passwords. For git, any user name goes with it."</p>
                            <a class="button small" href="" rel="external">
                                "I have kept it"
                            </a>
                        </div>
                    }
                })
        }}
        <details class="create">
            <summary class="button">"New token"</summary>
            <ApiForm submit button="Create token" on_submit=send>
                <Field
                    label="Name"
                    name="name"
                    id="token-name"
                    value=name
                    hint="Where it is used, for example “laptop”."
                    error=submit.field("name")
                />
                <fieldset class="field-group">
                    <legend>"It may"</legend>
                    <Check label="read" name="read" value=read hint="see and fetch" />
                    <Check label="write" name="write" value=write hint="push, start, retry and cancel" />
                    <Check label="administrate" name="admin" value=admin hint="change settings and members" />
                </fieldset>
                <Choice
                    label="It stops working after"
                    name="expires_in_days"
                    value=days
                    options=vec![("7", "7 days"), ("30", "30 days"), ("90", "90 days"), ("366", "a year")]
                />
            </ApiForm>
        </details>
    }
}

/// The tokens there are.
#[component]
pub fn TokenRows(tokens: Vec<Token>, #[prop(into)] on_revoked: Callback<()>) -> impl IntoView {
    if tokens.is_empty() {
        return view! { <p class="muted">"There are none."</p> }.into_any();
    }
    view! {
        <ul class="rows" aria-label="Tokens">
            {tokens
                .into_iter()
                .map(|token| view! { <TokenRow token on_revoked /> })
                .collect_view()}
        </ul>
    }
    .into_any()
}

#[component]
fn TokenRow(token: Token, on_revoked: Callback<()>) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let submit = Submit::new();
    let id = token.id;
    let revoke = move |_| {
        let api = api.clone();
        submit.send(async move { api.delete(&format!("/account/tokens/{id}")).await }, move |()| {
            on_revoked.run(())
        });
    };
    let scopes = token.scopes.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ");
    view! {
        <li class="row token-row">
            <span class="token-row-words">
                <span class="row-title clip">{token.name.clone()}</span>
                <span class="muted token-row-about">
                    <code>{token.prefix} "…"</code>
                    <span>{scopes}</span>
                    {token.project.map(|project| view! { <code>{project}</code> })}
                    <span>{token.owner}</span>
                </span>
            </span>
            <span class="muted token-row-times">
                <Until time=token.expires_at />
                <span>
                    {match token.last_used_at {
                        Some(time) => view! { "used " <Ago time /> }.into_any(),
                        None => "never used".into_any(),
                    }}
                </span>
            </span>
            <button
                type="button"
                class="button small"
                aria-label=format!("Revoke {}", token.name)
                disabled=move || !alive.get() || submit.pending().get()
                on:click=revoke
            >
                "Revoke"
            </button>
            <Outcome of=submit />
        </li>
    }
}
