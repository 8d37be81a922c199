//! The page's own tabs: links, so that each has an address and works without a script.

use leptos::prelude::*;

/// One tab.
#[derive(Clone, Debug)]
pub struct Tab {
    /// The word on it.
    pub label: &'static str,
    /// Where it leads.
    pub href: String,
    /// Whether it is the one that is shown.
    pub current: bool,
}

/// A row of tabs.
#[component]
pub fn Tabs(
    /// What they are tabs of.
    label: &'static str,
    tabs: Vec<Tab>,
) -> impl IntoView {
    view! {
        <nav class="tabs" aria-label=label>
            {tabs
                .into_iter()
                .map(|tab| {
                    view! {
                        <a href=tab.href aria-current=tab.current.then_some("page")>
                            {tab.label}
                        </a>
                    }
                })
                .collect_view()}
        </nav>
    }
}
