//! `/confirm?return_to=…`: confirm that it is you, in plain forms: where a page
//! that works without a script takes a recent proof.

use devenv_cloud_api::{accounts::AuthMethod, factors::StepUp};
use leptos::prelude::*;
use leptos_meta::Title;

use super::{query, sign_in::Brand};
use crate::{
    asked::ask,
    browser,
    components::{
        form::{Field, Outcome, Submit},
        load::Load,
    },
    context::{use_alive, use_api},
    passkeys::{self, Ask},
};

/// The page.
#[component]
pub fn Confirm() -> impl IntoView {
    let api = use_api();
    let return_to = query("return_to");
    let problem = query("problem");
    let asked = ask::<StepUp, _>(move || {
        let api = api.clone();
        async move { Ok(api.get("/session/step-up").await?) }
    });
    view! {
        <Title text="Confirm that it is you" />
        <main class="door">
            <Brand />
            <h1>"Confirm that it is you"</h1>
            <p class="muted">"What you are doing matters. It is good for ten minutes."</p>
            {move || {
                (!problem.get().is_empty())
                    .then(|| {
                        view! {
                            <p class="notice is-failure" role="alert">
                                {if problem.get() == "rate-limited" {
                                    "There were too many attempts. Wait a minute, then try again."
                                } else {
                                    "This was not accepted. Try again; a code counts once."
                                }}
                            </p>
                        }
                    })
            }}
            <Load
                asked
                what="how you can confirm it"
                view=move |ways: StepUp| {
                    ways.methods.into_iter().map(|method| view! { <Way method return_to /> }).collect_view().into_any()
                }
            />
        </main>
    }
}

#[component]
fn Way(method: AuthMethod, return_to: Memo<String>) -> impl IntoView {
    let (action, label, name, kind, autocomplete) = match method {
        AuthMethod::Passkey => return view! { <WithPasskey return_to /> }.into_any(),
        AuthMethod::Password => {
            ("/confirm/password", "Your password", "password", "password", "current-password")
        }
        AuthMethod::OneTimeCode => ("/confirm/code", "Code of your app", "code", "text", "one-time-code"),
        AuthMethod::RecoveryCode => ("/confirm/recovery-code", "Recovery code", "code", "text", "off"),
        AuthMethod::Federated | AuthMethod::Token => {
            return view! { <p>"Sign out, sign in again by way of your provider, and repeat it within ten minutes."</p> }
                .into_any();
        }
    };
    let form = view! {
        <form class="form" method="post" action=action>
            <input type="hidden" name="return_to" value=move || return_to.get() />
            <Field label name id=format!("confirm-{method}") kind autocomplete />
            <div class="form-actions">
                <button class="button primary wide">"Confirm"</button>
            </div>
        </form>
    };
    if method == AuthMethod::RecoveryCode {
        return view! {
            <details class="door-more">
                <summary>"I have lost it: use a recovery code"</summary>
                {form}
            </details>
        }
        .into_any();
    }
    form.into_any()
}

#[component]
fn WithPasskey(return_to: Memo<String>) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let submit = Submit::new();
    let send = move |_| {
        let api = api.clone();
        let ceremony =
            async move { passkeys::ceremony(&api, "/session/step-up/passkey", Ask::Get, None).await };
        submit.send(ceremony, move |_| browser::leave_for(own(&return_to.get_untracked())));
    };
    view! {
        <button
            type="button"
            class="button primary wide"
            disabled=move || !alive.get() || submit.pending().get()
            on:click=send
        >
            "Use a passkey"
        </button>
        <Outcome of=submit />
    }
}

/// The path, if it is one of ours: one slash, and then something that is no second one.
#[must_use]
pub fn own(path: &str) -> &str {
    let own = path.starts_with('/') && !path.get(1..).unwrap_or_default().starts_with(['/', '\\']);
    if own { path } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::own;

    #[test]
    fn only_paths_of_our_own_are_gone_to() {
        for (path, gone) in [
            ("/a?b", "/a?b"),
            ("/", "/"),
            ("", "/"),
            ("//evil", "/"),
            ("/\\evil", "/"),
            ("https://evil", "/"),
        ] {
            assert_eq!(own(path), gone, "{path}");
        }
    }
}
