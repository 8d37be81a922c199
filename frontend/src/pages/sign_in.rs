//! `/sign-in`: a plain form that works without a script. The server answers a
//! wrong guess by sending the visitor back here with the kind of the problem.

use devenv_cloud_api::accounts::SetupState;
use leptos::prelude::*;
use leptos_meta::Title;

use super::query;
use crate::{
    asked::ask,
    components::form::Field,
    context::{Outcome, use_api},
};

/// The sentence for a kind of problem. Unknown kinds say the least.
fn problem(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "" => return None,
        "wrong-credentials" => "The e-mail address or the password is wrong. Check both and try again.",
        "rate-limited" => "There were too many attempts. Wait a few minutes, then try again.",
        "invalid" => "Something is missing. Fill in both fields.",
        _ => "Signing in did not work. Try again.",
    })
}

/// The sign-in page.
#[component]
pub fn SignIn() -> impl IntoView {
    let api = use_api();
    let return_to = query("return_to");
    let kind = query("problem");
    // Where nobody has an account yet, the way leads to the first one.
    let setup = ask::<SetupState, _>(move || {
        let api = api.clone();
        async move { Ok(api.get("/setup").await?) }
    });
    let outcome = use_context::<Outcome>();
    view! {
        <Title text="Sign in" />
        <Suspense>
            {move || {
                let outcome = outcome.clone();
                Suspend::new(async move {
                    let needed = setup.answer().await.is_ok_and(|s| s.needed);
                    if let Some(outcome) = outcome.filter(|_| needed) {
                        outcome.set_redirect("/setup".to_owned());
                    }
                })
            }}
        </Suspense>
        <main class="door">
            <Brand />
            <h1>"Sign in"</h1>
            {move || problem(&kind.get()).map(|text| view! { <p class="notice is-failure" role="alert">{text}</p> })}
            <form class="form" method="post" action="/sign-in">
                <input type="hidden" name="return_to" value=move || return_to.get() />
                <Field label="E-mail address" name="email" kind="email" autocomplete="username" />
                <Field label="Password" name="password" kind="password" autocomplete="current-password" />
                <div class="form-actions">
                    <button class="button primary">"Sign in"</button>
                </div>
            </form>
        </main>
    }
}

/// The name, large, where there is no bar.
#[component]
pub(super) fn Brand() -> impl IntoView {
    view! {
        <p class="brand">
            <svg viewBox="0 0 24 24" width="28" height="28" aria-hidden="true">
                <path
                    class="logo"
                    d="M7.2 18.5a4.7 4.7 0 0 1-.6-9.4 6.2 6.2 0 0 1 11.9 1.3 4.1 4.1 0 0 1-.6 8.1M9.4 12l2.9 3-2.9 3M13.6 18.3h3.6"
                />
            </svg>
            "devenv cloud"
        </p>
    }
}
