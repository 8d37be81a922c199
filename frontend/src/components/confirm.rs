//! "Confirm that it is you": what matters takes a recent proof. The server says
//! so to a request; the transport opens this dialogue, and sends the request
//! again once it is confirmed, so that no page needs to know of it.

use devenv_cloud_api::{
    accounts::AuthMethod,
    factors::{Code, Password, StepUp},
};
use leptos::{html, prelude::*};

use crate::{
    asked::ask,
    components::{
        form::{ApiForm, Field, Outcome, Submit},
        load::Load,
    },
    context::use_api,
    passkeys::{self, Ask},
};

/// The dialogue, as far as it is open.
#[derive(Clone, Copy)]
pub struct Confirm {
    open: RwSignal<bool>,
}

impl Confirm {
    /// For all pages below.
    #[must_use]
    pub fn provide() -> Self {
        let confirm = Self { open: RwSignal::new(false) };
        #[cfg(feature = "hydrate")]
        waiting::set_opener(confirm.open);
        confirm
    }
}

/// Opens the dialogue. Whether the reader confirmed it.
#[cfg(feature = "hydrate")]
pub async fn confirmed() -> bool {
    waiting::confirmed().await
}

#[cfg(feature = "hydrate")]
mod waiting {
    use std::cell::RefCell;

    use js_sys::{Function, Promise};
    use leptos::prelude::*;
    use wasm_bindgen::JsValue;
    use wasm_bindgen_futures::JsFuture;

    thread_local! {
        static OPENER: RefCell<Option<RwSignal<bool>>> = const { RefCell::new(None) };
        /// Those that wait for the reader's answer.
        static WAITING: RefCell<Vec<Function>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn set_opener(open: RwSignal<bool>) {
        OPENER.set(Some(open));
    }

    pub(super) async fn confirmed() -> bool {
        let Some(open) = OPENER.with_borrow(|opener| *opener) else { return false };
        let promise =
            Promise::new(&mut |resolve, _| WAITING.with_borrow_mut(|waiting| waiting.push(resolve)));
        if open.try_set(true).is_some() {
            return false;
        }
        JsFuture::from(promise).await.is_ok_and(|answer| answer.is_truthy())
    }

    pub(super) fn answer(confirmed: bool) {
        for resolve in WAITING.take() {
            let _ = resolve.call1(&JsValue::NULL, &JsValue::from_bool(confirmed));
        }
    }
}

fn answer(open: RwSignal<bool>, confirmed: bool) {
    open.set(false);
    #[cfg(feature = "hydrate")]
    waiting::answer(confirmed);
    #[cfg(not(feature = "hydrate"))]
    let _ = confirmed;
}

/// The dialogue.
#[component]
pub fn ConfirmDialog(confirm: Confirm) -> impl IntoView {
    let dialog = NodeRef::<html::Dialog>::new();
    let open = confirm.open;
    Effect::new(move |_| {
        let Some(dialog) = dialog.get() else { return };
        if open.get() && !dialog.open() {
            let _ = dialog.show_modal();
        } else if !open.get() && dialog.open() {
            dialog.close();
        }
    });
    view! {
        <dialog
            class="confirm"
            node_ref=dialog
            aria-labelledby="confirm-title"
            on:close=move |_| {
                if open.get_untracked() {
                    answer(open, false);
                }
            }
        >
            {move || {
                open.get()
                    .then(|| {
                        view! {
                            <h2 id="confirm-title">"Confirm that it is you"</h2>
                            <p class="muted">"What you are doing matters. It is good for ten minutes."</p>
                            <Ways on_done=move || answer(open, true) />
                            <button type="button" class="button" on:click=move |_| answer(open, false)>
                                "Cancel"
                            </button>
                        }
                    })
            }}
        </dialog>
    }
}

/// What the person can confirm it with.
#[component]
fn Ways(on_done: impl Fn() + Clone + Send + Sync + 'static) -> impl IntoView {
    let api = use_api();
    let asked = ask::<StepUp, _>(move || {
        let api = api.clone();
        async move { Ok(api.get("/session/step-up").await?) }
    });
    view! {
        <Load
            asked
            what="how you can confirm it"
            view=move |ways: StepUp| {
                ways.methods
                    .into_iter()
                    .map(|method| {
                        let done = on_done.clone();
                        match method {
                            AuthMethod::Passkey => view! { <WithPasskey done /> }.into_any(),
                            AuthMethod::RecoveryCode => {
                                view! {
                                    <details>
                                        <summary>"I have lost it: use a recovery code"</summary>
                                        <WithWord method done />
                                    </details>
                                }
                                    .into_any()
                            }
                            AuthMethod::Password | AuthMethod::OneTimeCode => {
                                view! { <WithWord method done /> }.into_any()
                            }
                            AuthMethod::Federated | AuthMethod::Token => {
                                view! {
                                    <p>"Sign out, sign in again by way of your provider, and repeat it within ten minutes."</p>
                                }
                                    .into_any()
                            }
                        }
                    })
                    .collect_view()
                    .into_any()
            }
        />
    }
}

#[component]
fn WithPasskey(done: impl Fn() + Clone + Send + Sync + 'static) -> impl IntoView {
    let api = use_api();
    let submit = Submit::new();
    let send = move |_| {
        let (api, done) = (api.clone(), done.clone());
        let ceremony =
            async move { passkeys::ceremony(&api, "/session/step-up/passkey", Ask::Get, None).await };
        submit.send(ceremony, move |_| done());
    };
    view! {
        <button type="button" class="button primary" disabled=move || submit.pending().get() on:click=send>
            "Use a passkey"
        </button>
        <Outcome of=submit />
    }
}

/// With something that is typed.
#[component]
fn WithWord(method: AuthMethod, done: impl Fn() + Clone + Send + Sync + 'static) -> impl IntoView {
    let api = use_api();
    let submit = Submit::new();
    let word = RwSignal::new(String::new());
    let send = move || {
        let (api, done) = (api.clone(), done.clone());
        let word = word.get_untracked();
        submit.send(
            async move {
                match method {
                    AuthMethod::Password => {
                        api.post::<_, ()>("/session/step-up/password", &Password { password: word }).await
                    }
                    AuthMethod::RecoveryCode => {
                        api.post::<_, ()>("/session/step-up/recovery-code", &Code { code: word }).await
                    }
                    _ => api.post::<_, ()>("/session/step-up/code", &Code { code: word }).await,
                }
            },
            move |()| done(),
        );
    };
    let (label, name, id, kind, autocomplete) = match method {
        AuthMethod::Password => {
            ("Your password", "password", "confirm-password", "password", "current-password")
        }
        AuthMethod::RecoveryCode => ("Recovery code", "code", "confirm-recovery", "text", "off"),
        _ => ("Code of your app", "code", "confirm-code", "text", "one-time-code"),
    };
    view! {
        <ApiForm submit button="Confirm" on_submit=send>
            <Field label name id kind value=word autocomplete error=submit.field(name) />
        </ApiForm>
    }
}
