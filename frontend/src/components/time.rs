//! Times and durations. Relative to read, exact on hover; running ones tick.

use devenv_cloud_api::Timestamp;
use leptos::prelude::*;

use crate::{context::use_now, format};

/// A moment, relative to now.
#[component]
pub fn Ago(time: Timestamp) -> impl IntoView {
    let now = use_now();
    // Through a memo, so that the page is touched when the words change, not every second.
    let text = Memo::new(move |_| format::ago(time, now.get()));
    view! {
        <time datetime=format::machine(time) title=format::exact(time)>
            {move || text.get()}
        </time>
    }
}

/// A moment to come, relative to now.
#[component]
pub fn Until(time: Timestamp) -> impl IntoView {
    let now = use_now();
    let text = Memo::new(move |_| format::until(time, now.get()));
    view! {
        <time datetime=format::machine(time) title=format::exact(time)>
            {move || text.get()}
        </time>
    }
}

/// How long something took, or takes so far.
#[component]
pub fn Elapsed(
    #[prop(into)] start: Signal<Option<Timestamp>>,
    #[prop(into)] end: Signal<Option<Timestamp>>,
) -> impl IntoView {
    let now = use_now();
    let text = Memo::new(move |_| {
        start.get().map(|start| {
            // Only what still runs depends on the clock.
            let millis = match end.get() {
                Some(end) => format::elapsed(start, Some(end), end),
                None => format::elapsed(start, None, now.get()),
            };
            format::duration(millis)
        })
    });
    view! { <span class="elapsed">{move || text.get().unwrap_or_else(|| "–".to_owned())}</span> }
}
