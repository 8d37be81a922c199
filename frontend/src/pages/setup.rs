//! `/setup?token=…`: the first user, who administrates the instance. A plain
//! form, as sign-in is.

use devenv_cloud_api::accounts::SetupState;
use leptos::prelude::*;
use leptos_meta::Title;

use super::{query, sign_in::Brand};
use crate::{
    asked::ask,
    components::{form::Field, load::Load},
    context::use_api,
};

fn problem(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "" => return None,
        "weak-password" => {
            "This password is too short or too common. Choose 8 characters or more that nobody would guess; a few \
             unrelated words do well."
        }
        "invalid-token" => {
            "This set-up link is not the one that the server printed last. Look into its output for the newest one."
        }
        "invalid" => "Something is missing or not understood. Check the e-mail address and the name.",
        "rate-limited" => "There were too many attempts. Wait a few minutes, then try again.",
        _ => "The set-up did not work. Try again.",
    })
}

/// The set-up page.
#[component]
pub fn Setup() -> impl IntoView {
    let api = use_api();
    let token = query("token");
    let kind = query("problem");
    let asked = ask::<SetupState, _>(move || {
        let api = api.clone();
        async move { Ok(api.get("/setup").await?) }
    });
    view! {
        <Title text="Set up" />
        <main class="door">
            <Brand />
            <Load
                asked
                what="the set-up"
                view=move |state: SetupState| {
                    if !state.needed {
                        return view! {
                            <h1>"This instance is set up"</h1>
                            <p>"Its first user exists. Sign in, or ask an administrator for an account."</p>
                            <p>
                                <a class="button primary" href="/sign-in">
                                    "Sign in"
                                </a>
                            </p>
                        }
                            .into_any();
                    }
                    if token.get().is_empty() {
                        return view! {
                            <h1>"Open the set-up link"</h1>
                            <p>
                                "The server printed a one-time link when it started. Open that one: it proves that "
                                "you are the one who runs this server."
                            </p>
                        }
                            .into_any();
                    }
                    view! {
                        <h1>"Welcome"</h1>
                        <p>"Create the first account. It administrates this instance."</p>
                        {move || {
                            problem(&kind.get()).map(|text| view! { <p class="notice is-failure" role="alert">{text}</p> })
                        }}
                        <form class="form" method="post" action="/setup">
                            <input type="hidden" name="token" value=move || token.get() />
                            <Field label="Name" name="name" autocomplete="name" />
                            <Field label="E-mail address" name="email" kind="email" autocomplete="username" />
                            <Field
                                label="Password"
                                name="password"
                                kind="password"
                                autocomplete="new-password"
                                hint="8 characters or more. Common passwords are refused."
                            />
                            <div class="form-actions">
                                <button class="button primary">"Create the account"</button>
                            </div>
                        </form>
                    }
                        .into_any()
                }
            />
        </main>
    }
}
