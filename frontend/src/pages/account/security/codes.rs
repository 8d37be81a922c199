//! The app for one-time codes.

use devenv_cloud_api::{
    Timestamp,
    factors::{Code as Given, NewCodes},
};
use leptos::prelude::*;

use crate::{
    components::{
        code::Code,
        form::{ApiForm, Field, Outcome, Submit},
        time::Ago,
    },
    context::{use_alive, use_api},
};

/// Whether there is one, and setting one up.
#[component]
pub fn Codes(since: Option<Timestamp>, reload: Callback<()>) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let submit = Submit::new();
    let new = RwSignal::new(None::<NewCodes>);
    let removing = api.clone();
    let remove = move |_| {
        let api = removing.clone();
        submit.send(async move { api.delete("/account/codes").await }, move |()| reload.run(()));
    };
    let begin = move |_| {
        let api = api.clone();
        submit.send(async move { api.post::<_, NewCodes>("/account/codes", &()).await }, move |codes| {
            new.set(Some(codes));
        });
    };
    let disabled = move || !alive.get() || submit.pending().get();
    match since {
        Some(time) => view! {
            <p>"Your app gives codes since " <Ago time /> ". After your password you are asked for one."</p>
            <button type="button" class="button" disabled=disabled on:click=remove>
                "Remove the app"
            </button>
            <Outcome of=submit />
        }
        .into_any(),
        None => view! {
            <p class="muted">"An app on your phone shows a code of six digits, which you are asked for after your password."</p>
            {move || match new.get() {
                Some(codes) => view! { <Enrol codes reload /> }.into_any(),
                None => {
                    let begin = begin.clone();
                    view! {
                        <button type="button" class="button" disabled=disabled on:click=begin>
                            "Set up an app"
                        </button>
                    }
                        .into_any()
                }
            }}
            <Outcome of=submit />
        }
        .into_any(),
    }
}

#[component]
fn Enrol(codes: NewCodes, reload: Callback<()>) -> impl IntoView {
    let api = use_api();
    let submit = Submit::new();
    let code = RwSignal::new(String::new());
    let send = move || {
        let api = api.clone();
        let body = Given { code: code.get_untracked() };
        submit.send(async move { api.post::<_, ()>("/account/codes/confirm", &body).await }, move |()| {
            reload.run(());
        });
    };
    view! {
        <ol class="steps">
            <li>
                <p>"Scan this with your app, or type the key into it."</p>
                <Qr rows=codes.qr />
                <Code text=codes.secret what="the key" />
            </li>
            <li>
                <ApiForm submit button="Turn it on" on_submit=send>
                    <Field
                        label="The code that it shows"
                        name="code"
                        id="codes-code"
                        value=code
                        autocomplete="one-time-code"
                        hint="Six digits. It proves that the app has the key."
                        error=submit.field("code")
                    />
                </ApiForm>
            </li>
        </ol>
    }
}

/// A QR code, drawn: dark on light in every theme, with the quiet zone that readers want.
#[component]
fn Qr(rows: Vec<String>) -> impl IntoView {
    let size = rows.len() + 8;
    let mut path = String::new();
    for (y, row) in rows.iter().enumerate() {
        for (x, _) in row.bytes().enumerate().filter(|(_, module)| *module == b'1') {
            path.push_str(&format!("M{} {}h1v1h-1z", x + 4, y + 4));
        }
    }
    view! {
        <svg class="qr" viewBox=format!("0 0 {size} {size}") role="img" aria-label="QR code for the app">
            <rect class="qr-light" width=size height=size />
            <path class="qr-dark" d=path />
        </svg>
    }
}
