//! Recovery codes.

use devenv_cloud_api::factors::{Factors, RecoveryCodes};
use leptos::prelude::*;

use crate::{
    components::{
        code::Code,
        form::{Outcome, Submit},
        time::Ago,
    },
    context::{use_alive, use_api},
};

/// How many are left, and making new ones.
#[component]
pub fn Recovery(factors: Factors, reload: Callback<()>) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let submit = Submit::new();
    let codes = RwSignal::new(None::<RecoveryCodes>);
    let left = factors.recovery_codes;
    let useful = !factors.passkeys.is_empty() || factors.codes_since.is_some();
    let make = move |_| {
        let api = api.clone();
        submit.send(
            async move { api.post::<_, RecoveryCodes>("/account/recovery-codes", &()).await },
            move |made| codes.set(Some(made)),
        );
    };
    view! {
        <p class="muted">"For when you lose your passkey or your app. Ten codes; each works once, after your password."</p>
        {(left > 0)
            .then(|| {
                view! {
                    <p>
                        <strong>{left}</strong> " of 10 are left"
                        {factors.recovery_codes_since.map(|time| view! { ", made " <Ago time /> })} "."
                    </p>
                }
            })}
        {(left == 0 && useful).then(|| view! { <p class="notice">"You have none. Make some before you need them."</p> })}
        {move || match codes.get() {
            Some(made) => view! { <Shown codes=made.codes reload /> }.into_any(),
            None if useful => {
                let make = make.clone();
                view! {
                    <button
                        type="button"
                        class="button"
                        disabled=move || !alive.get() || submit.pending().get()
                        on:click=make
                    >
                        {if left > 0 { "Make new ones; the old ones end" } else { "Make recovery codes" }}
                    </button>
                }
                    .into_any()
            }
            None => view! { <p>"Add a passkey or an app for codes first."</p> }.into_any(),
        }}
        <Outcome of=submit />
    }
}

#[component]
fn Shown(codes: Vec<String>, reload: Callback<()>) -> impl IntoView {
    let text = codes.join("\n");
    let file = format!("data:text/plain;charset=utf-8,{}", codes.join("%0A"));
    view! {
        <div class="notice is-success">
            <strong>"These are shown this once. Keep them where you keep passwords."</strong>
            <Code text=text what="the recovery codes" />
            <p class="form-actions">
                <a class="button small" href=file download="devenv-cloud-recovery-codes.txt" rel="external">
                    "Download"
                </a>
                <button type="button" class="button small" on:click=move |_| reload.run(())>
                    "I have kept them"
                </button>
            </p>
        </div>
    }
}
