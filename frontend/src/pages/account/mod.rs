//! `/account`: who I am, what I sign in with, where I am signed in, my tokens.

pub mod activity;
pub mod email;
pub mod profile;
pub mod security;
pub mod sessions;
pub mod tokens;

use devenv_cloud_api::accounts::Viewer;
use leptos::prelude::*;

use crate::components::{
    page_head::PageHead,
    tabs::{Tab, Tabs},
};

/// What stands above every page of the account.
#[component]
pub fn AccountHead(
    /// The tab that is shown.
    at: &'static str,
) -> impl IntoView {
    let session = expect_context::<crate::context::Session>().0;
    let tabs = [
        ("", "Profile"),
        ("/security", "Security"),
        ("/sessions", "Sessions"),
        ("/tokens", "Tokens"),
        ("/activity", "Activity"),
    ];
    let tabs = tabs
        .into_iter()
        .map(|(path, label)| Tab { label, href: format!("/account{path}"), current: path == at })
        .collect();
    view! {
        <PageHead title="Account" />
        <Transition>
            {move || Suspend::new(async move {
                session.answer().await.ok().map(|viewer: Viewer| view! { <p class="muted">{viewer.user.email}</p> })
            })}
        </Transition>
        <Tabs label="Account" tabs />
    }
}
