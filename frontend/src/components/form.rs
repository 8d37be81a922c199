//! Forms: labelled fields, one problem above them, one button.
//!
//! Forms that must work without a script (sign-in, set-up, sign-out) are plain
//! and leave their values to the browser. All others call the API; they are
//! disabled until the page is alive, so that no password can end up in an
//! address because somebody was quicker than the script.

use std::{future::Future, pin::Pin};

use devenv_cloud_api::client::Error;
use leptos::{ev::SubmitEvent, prelude::*};

use crate::{components::load::ProblemPage, context::use_alive, failure::Failure};

/// What to do when the answer is here.
type Then = Box<dyn FnOnce()>;

/// One running or finished attempt to send a form.
#[derive(Clone, Copy)]
pub struct Submit {
    pending: RwSignal<bool>,
    failure: RwSignal<Option<Failure>>,
    done: RwSignal<Option<String>>,
}

impl Default for Submit {
    fn default() -> Self {
        Self::new()
    }
}

impl Submit {
    /// Nothing sent yet.
    #[must_use]
    pub fn new() -> Self {
        Self { pending: RwSignal::new(false), failure: RwSignal::new(None), done: RwSignal::new(None) }
    }

    /// Sends, once at a time; then calls `then` with the answer.
    pub fn send<T: 'static>(
        self,
        call: impl Future<Output = Result<T, Error>> + 'static,
        then: impl FnOnce(T) + 'static,
    ) {
        self.send_any(Box::pin(async move {
            let value = call.await?;
            Ok(Box::new(move || then(value)) as Then)
        }));
    }

    /// The part of [`Self::send`] that knows no type.
    fn send_any(self, call: Pin<Box<dyn Future<Output = Result<Then, Error>>>>) {
        if self.pending.get_untracked() {
            return;
        }
        self.pending.set(true);
        self.failure.set(None);
        self.done.set(None);
        leptos::task::spawn_local(async move {
            let answer = call.await;
            let _ = self.pending.try_set(false);
            match answer {
                Ok(then) => then(),
                Err(error) => {
                    let _ = self.failure.try_set(Some(error.into()));
                }
            }
        });
    }

    /// Refuses without having asked the server.
    pub fn refuse(self, failure: Failure) {
        self.done.set(None);
        self.failure.set(Some(failure));
    }

    /// Says that it worked.
    pub fn say(self, text: impl Into<String>) {
        let _ = self.done.try_set(Some(text.into()));
    }

    /// Whether it is under way.
    #[must_use]
    pub fn pending(self) -> Signal<bool> {
        self.pending.into()
    }

    /// The sentence about one field, if it was refused.
    #[must_use]
    pub fn field(self, name: &'static str) -> Signal<Option<String>> {
        Signal::derive(move || self.failure.with(|f| f.as_ref().and_then(|f| f.field(name))))
    }
}

/// What came of sending, for eyes and for assistive technology.
#[component]
pub fn Outcome(of: Submit) -> impl IntoView {
    view! {
        <div class="form-outcome" aria-live="polite">
            {move || {
                of.failure
                    .get()
                    .map(|failure| {
                        if failure.is_signed_out() {
                            return view! { <ProblemPage failure /> }.into_any();
                        }
                        view! {
                            <div class="notice is-failure">
                                <strong>{failure.title}</strong>
                                {failure.detail.map(|detail| view! { <p>{detail}</p> })}
                            </div>
                        }
                            .into_any()
                    })
            }}
            {move || of.done.get().map(|text| view! { <div class="notice is-success">{text}</div> })}
        </div>
    }
}

/// A form that calls the API.
#[component]
pub fn ApiForm(
    submit: Submit,
    /// The word on the button.
    button: &'static str,
    /// Called when somebody sends it.
    #[prop(into)]
    on_submit: Callback<()>,
    /// Whether the button warns.
    #[prop(optional)]
    danger: bool,
    /// Whether it may not be sent yet.
    #[prop(optional, into)]
    blocked: Signal<bool>,
    children: Children,
) -> impl IntoView {
    let alive = use_alive();
    let class = if danger { "button danger" } else { "button primary" };
    view! {
        <form
            class="form"
            method="post"
            on:submit=move |event: SubmitEvent| {
                event.prevent_default();
                if !blocked.get_untracked() {
                    on_submit.run(());
                }
            }
        >
            {children()}
            <Outcome of=submit />
            <div class="form-actions">
                <button
                    type="submit"
                    class=class
                    disabled=move || !alive.get() || submit.pending.get() || blocked.get()
                >
                    {move || if submit.pending.get() { "One moment…" } else { button }}
                </button>
            </div>
            <noscript>
                <p class="muted">"This form needs a script. Turn on JavaScript, or use the API."</p>
            </noscript>
        </form>
    }
}

/// A labelled line of text.
#[component]
pub fn Field(
    label: &'static str,
    /// Its name in the request.
    name: &'static str,
    /// Its id, where another form of the page has a field of this name.
    #[prop(optional, into)]
    id: Option<String>,
    /// `text`, `password`, `email`, `number`.
    #[prop(default = "text")]
    kind: &'static str,
    /// What it holds, in forms that call the API.
    #[prop(optional)]
    value: Option<RwSignal<String>>,
    /// What to write there.
    #[prop(optional, into)]
    hint: Option<String>,
    /// What is wrong with it.
    #[prop(optional, into)]
    error: Signal<Option<String>>,
    #[prop(default = "off")] autocomplete: &'static str,
    #[prop(default = true)] required: bool,
    /// Whether it is a name in an address or another piece of code.
    #[prop(optional)]
    mono: bool,
) -> impl IntoView {
    let id = format!("field-{}", id.as_deref().unwrap_or(name));
    let hint_id = format!("{id}-hint");
    let described = hint_id.clone();
    let initial = value.map(|v| v.get_untracked());
    view! {
        <div class="field">
            <label for=id.clone()>{label}</label>
            <input
                id=id
                class=mono.then_some("mono")
                type=kind
                name=name
                value=initial
                prop:value=move || value.map(|v| v.get())
                on:input=move |event| {
                    if let Some(value) = value {
                        value.set(event_target_value(&event));
                    }
                }
                autocomplete=autocomplete
                autocapitalize=(kind != "text" || mono).then_some("off")
                spellcheck=(kind != "text" || mono).then_some("false")
                required=required
                aria-describedby=described
                aria-invalid=move || error.get().map(|_| "true")
            />
            <p class="field-note" id=hint_id>
                {move || match error.get() {
                    Some(error) => view! { <span class="field-error">{error}</span> }.into_any(),
                    None => view! { <span class="muted">{hint.clone()}</span> }.into_any(),
                }}
            </p>
        </div>
    }
}

/// A labelled choice of one among few.
#[component]
pub fn Choice(
    label: &'static str,
    name: &'static str,
    value: RwSignal<String>,
    /// The values and their words.
    options: Vec<(&'static str, &'static str)>,
    /// What is wrong with it.
    #[prop(optional, into)]
    error: Signal<Option<String>>,
) -> impl IntoView {
    let id = format!("field-{name}");
    view! {
        <div class="field">
            <label for=id.clone()>{label}</label>
            <select
                id=id
                name=name
                prop:value=move || value.get()
                on:change=move |event| value.set(event_target_value(&event))
            >
                {options
                    .into_iter()
                    .map(|(word, text)| {
                        view! {
                            <option value=word selected=value.get_untracked() == word>
                                {text}
                            </option>
                        }
                    })
                    .collect_view()}
            </select>
            {move || error.get().map(|error| view! { <p class="field-note field-error" role="alert">{error}</p> })}
        </div>
    }
}

/// A labelled yes or no.
#[component]
pub fn Check(
    #[prop(into)] label: String,
    name: &'static str,
    value: RwSignal<bool>,
    /// What it means.
    #[prop(optional)]
    hint: Option<&'static str>,
) -> impl IntoView {
    let id = format!("field-{name}");
    view! {
        <div class="field check">
            <input
                id=id.clone()
                type="checkbox"
                name=name
                checked=value.get_untracked()
                prop:checked=move || value.get()
                on:change=move |event| value.set(event_target_checked(&event))
            />
            <label for=id>
                {label} {hint.map(|hint| view! { <span class="muted check-hint">{hint}</span> })}
            </label>
        </div>
    }
}

/// A labelled list, one entry a line.
#[component]
pub fn Lines(
    label: &'static str,
    name: &'static str,
    value: RwSignal<String>,
    hint: &'static str,
    #[prop(optional, into)] error: Signal<Option<String>>,
) -> impl IntoView {
    let id = format!("field-{name}");
    let hint_id = format!("{id}-hint");
    view! {
        <div class="field">
            <label for=id.clone()>{label}</label>
            <textarea
                id=id
                class="mono"
                name=name
                rows="3"
                spellcheck="false"
                aria-describedby=hint_id.clone()
                aria-invalid=move || error.get().map(|_| "true")
                prop:value=move || value.get()
                on:input=move |event| value.set(event_target_value(&event))
            >
                {value.get_untracked()}
            </textarea>
            <p class="field-note" id=hint_id>
                {move || match error.get() {
                    Some(error) => view! { <span class="field-error">{error}</span> }.into_any(),
                    None => view! { <span class="muted">{hint}</span> }.into_any(),
                }}
            </p>
        </div>
    }
}

/// The entries of a [`Lines`] field.
#[must_use]
pub fn entries(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
