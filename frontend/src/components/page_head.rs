//! The head of a page: its one `h1`, a line about it, and what one can do.

use leptos::prelude::*;
use leptos_meta::Title;

/// Sets the window's title and shows the head.
#[component]
pub fn PageHead(
    /// The heading.
    #[prop(into)]
    title: String,
    /// The window's title, where it says more than the heading.
    #[prop(optional, into)]
    window_title: Option<String>,
    /// One line below it.
    #[prop(optional, into)]
    about: Option<String>,
    /// Buttons.
    #[prop(optional)]
    children: Option<Children>,
) -> impl IntoView {
    let window_title = window_title.unwrap_or_else(|| title.clone());
    view! {
        <Title text=window_title />
        <header class="page-head">
            <div class="page-head-words">
                <h1>{title}</h1>
                {about.filter(|a| !a.is_empty()).map(|about| view! { <p class="muted">{about}</p> })}
            </div>
            {children.map(|children| view! { <div class="page-head-actions">{children()}</div> })}
        </header>
    }
}
