//! `/instance/…`: what administrators of the instance see and do.

pub mod audit;
pub mod mail;
pub mod people;
pub mod security;

use leptos::prelude::*;

use crate::components::{
    page_head::PageHead,
    tabs::{Tab, Tabs},
};

/// The head of all of these pages.
#[component]
pub(super) fn Head(current: &'static str, window_title: &'static str) -> impl IntoView {
    let tab = |label, page: &str| Tab { label, href: format!("/instance/{page}"), current: page == current };
    view! {
        <PageHead title="Instance" window_title />
        <Tabs label="Instance" tabs=vec![tab("People", "people"), tab("Audit log", "audit"), tab("Mail", "mail"), tab("Security", "security")] />
    }
}
