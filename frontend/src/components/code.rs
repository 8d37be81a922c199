//! Commands to copy.

use leptos::prelude::*;

use crate::{browser, context::use_alive};

/// A block of commands with a button that copies them.
#[component]
pub fn Code(
    #[prop(into)] text: String,
    /// What it is, for the button's name: "the commands", "the token".
    what: &'static str,
) -> impl IntoView {
    let alive = use_alive();
    let copied = RwSignal::new(false);
    let shown = text.clone();
    let copy = move |_| {
        browser::copy(&text);
        copied.set(true);
        set_timeout(
            move || {
                let _ = copied.try_set(false);
            },
            std::time::Duration::from_secs(2),
        );
    };
    view! {
        <div class="code">
            <pre tabindex="0">
                <code>{shown}</code>
            </pre>
            <button
                type="button"
                class="button small code-copy"
                disabled=move || !alive.get()
                on:click=copy
                aria-label=format!("Copy {what}")
            >
                {move || if copied.get() { "Copied" } else { "Copy" }}
            </button>
        </div>
    }
}

/// A short text in the line, in the fixed-width face, e.g. a commit.
#[component]
pub fn Copyable(
    /// What is shown.
    #[prop(into)]
    short: String,
    /// What is copied.
    #[prop(into)]
    full: String,
    /// What it is: "the commit".
    what: &'static str,
) -> impl IntoView {
    let copied = RwSignal::new(false);
    let title = full.clone();
    let copy = move |_| {
        browser::copy(&full);
        copied.set(true);
        set_timeout(
            move || {
                let _ = copied.try_set(false);
            },
            std::time::Duration::from_secs(2),
        );
    };
    view! {
        <button type="button" class="copyable" title=format!("{title} (copy)") aria-label=format!("Copy {what} {short}") on:click=copy>
            <code>{short.clone()}</code>
            <span class="copied" role="status">
                {move || copied.get().then_some("copied")}
            </span>
        </button>
    }
}
