//! What sign-in takes: the form for an instance or an organisation.

use devenv_cloud_api::factors::{SecondFactor, SignInPolicy};
use leptos::prelude::*;

use crate::{
    components::form::{ApiForm, Choice, Field, Submit},
    context::use_api,
};

/// The form.
#[component]
pub fn PolicyForm(
    policy: SignInPolicy,
    /// Where the policy is, below the API's prefix.
    path: String,
    /// Of what it is: "this instance", "the organisation".
    of: &'static str,
) -> impl IntoView {
    let api = use_api();
    let asked = RwSignal::new(policy.second_factor.to_string());
    let days = RwSignal::new(policy.grace_days.to_string());
    let submit = Submit::new();
    let send = move || {
        let (api, path) = (api.clone(), path.clone());
        let body = SignInPolicy {
            second_factor: asked.with_untracked(|word| word.parse().unwrap_or(SecondFactor::Optional)),
            // What is no number is refused by the server, in its words.
            grace_days: days.with_untracked(|days| days.trim().parse().unwrap_or(u32::MAX)),
        };
        submit.send(async move { api.put::<_, SignInPolicy>(&path, &body).await }, move |_| {
            submit.say("Saved. It holds from now on.");
        });
    };
    view! {
        <p class="muted">
            "Who has a passkey or one-time codes is always asked for them. Here you ask everybody of " {of} " to have them."
        </p>
        <ApiForm submit button="Save" on_submit=send>
            <Choice
                label="Everybody signs in with"
                name="second_factor"
                value=asked
                error=submit.field("second_factor")
                options=vec![
                    ("optional", "what they like"),
                    ("required", "a passkey, or a password and a one-time code"),
                    ("phishing-resistant", "a passkey"),
                ]
            />
            <Field
                label="Days to set it up"
                name="grace_days"
                kind="number"
                value=days
                hint="0 to 90. Then nothing else can be done here before it is set up."
                error=submit.field("grace_days")
            />
        </ApiForm>
    }
}
