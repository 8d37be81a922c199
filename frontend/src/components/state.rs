//! The state mark: shape, colour and word together, so that nobody has to
//! see colours to read it.

use devenv_cloud_api::runs::State;
use leptos::prelude::*;

/// The word that people read.
#[must_use]
pub const fn word(state: State) -> &'static str {
    match state {
        State::Queued => "queued",
        State::Running => "running",
        State::Success => "success",
        State::Failure => "failure",
        State::Error => "error",
        State::Timeout => "timeout",
        State::Cancellation => "cancelled",
        State::Skip => "skipped",
    }
}

/// Whether somebody should look at it.
#[must_use]
pub const fn is_bad(state: State) -> bool {
    matches!(state, State::Failure | State::Error | State::Timeout)
}

/// The class that colours something by its state.
#[must_use]
pub const fn class(state: State) -> &'static str {
    match state {
        State::Queued => "is-queued",
        State::Running => "is-running",
        State::Success => "is-success",
        State::Failure => "is-failure",
        State::Error => "is-error",
        State::Timeout => "is-timeout",
        State::Cancellation => "is-cancellation",
        State::Skip => "is-skip",
    }
}

/// The shape, in a box of 16 by 16. Each differs in outline, not in colour alone.
const fn shape(state: State) -> &'static str {
    match state {
        // A dotted ring, a ring with a gap (it turns), then filled shapes.
        State::Queued => "M8 1.6a6.4 6.4 0 1 0 0 12.8A6.4 6.4 0 0 0 8 1.6Z",
        State::Running => "M8 1.6a6.4 6.4 0 1 1-6.4 6.4",
        State::Success => {
            "M8 .8a7.2 7.2 0 1 1 0 14.4A7.2 7.2 0 0 1 8 .8Zm3.4 4.3L6.9 9.6 4.7 7.4 3.6 8.5l3.3 3.3 5.6-5.6-1.1-1.1Z"
        }
        State::Failure => {
            "M4.9.9h6.2l4 4v6.2l-4 4H4.9l-4-4V4.9l4-4Zm.6 3.5L4.4 5.5 6.9 8l-2.5 2.5 1.1 1.1L8 9.1l2.5 2.5 1.1-1.1L9.1 8l2.5-2.5-1.1-1.1L8 6.9 5.5 4.4Z"
        }
        State::Error => "M8 .9 15.6 14.6H.4L8 .9ZM7.2 5.6v4.3h1.6V5.6H7.2Zm0 5.4v1.7h1.6V11H7.2Z",
        State::Timeout => {
            "M8 .8a7.2 7.2 0 1 1 0 14.4A7.2 7.2 0 0 1 8 .8Zm-.8 2.8v4.8l3.5 2.1.8-1.3-2.7-1.6v-4H7.2Z"
        }
        State::Cancellation => {
            "M8 .8a7.2 7.2 0 1 1 0 14.4A7.2 7.2 0 0 1 8 .8Zm-4.2 2.9-.1.1A5.6 5.6 0 0 0 11.4 12.3l.9-.9-8.5-7.7Z"
        }
        State::Skip => "M2 3.4 7 8l-5 4.6V3.4Zm6.4 0L13.4 8l-5 4.6V3.4Z",
    }
}

/// The mark alone, for places where the word stands right beside it or in the
/// row's own words. Hidden from assistive technology.
#[component]
pub fn StateShape(#[prop(into)] state: Signal<State>) -> impl IntoView {
    view! {
        <svg
            class=move || format!("state-shape {}", class(state.get()))
            viewBox="0 0 16 16"
            width="16"
            height="16"
            aria-hidden="true"
        >
            <path d=move || shape(state.get()) fill-rule="evenodd" />
        </svg>
    }
}

/// The mark with its word.
#[component]
pub fn StateMark(
    #[prop(into)] state: Signal<State>,
    /// Whether only assistive technology and a tooltip say the word.
    #[prop(optional)]
    quiet: bool,
) -> impl IntoView {
    let text_class = if quiet { "visually-hidden" } else { "state-word" };
    view! {
        <span
            class=move || format!("state {}", class(state.get()))
            title=move || quiet.then(|| word(state.get()))
        >
            <StateShape state />
            <span class=text_class>{move || word(state.get())}</span>
        </span>
    }
}
