//! What does not exist, or not for the one who asks; nobody learns which.

use leptos::prelude::*;
use leptos_meta::Title;

use crate::context::Outcome;

/// Not found.
#[component]
pub fn NotFound() -> impl IntoView {
    if let Some(outcome) = use_context::<Outcome>() {
        outcome.set_status(404);
    }
    view! {
        <Title text="Not found" />
        <section class="problem-page">
            <h1>"There is nothing here"</h1>
            <p>
                "This address leads to nothing, or to something that you may not see. "
                "Check it for a slip, or ask somebody who can open it to add you to the organisation."
            </p>
            <p>
                <a href="/" class="button">
                    "Go home"
                </a>
            </p>
        </section>
    }
}
