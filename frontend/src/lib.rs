//! The pages of devenv-cloud: rendered on the server, hydrated in the browser.
//!
//! A page is a file in [`pages`], named like its route. It reads the API
//! through one question ([`asked::ask`]), shows the four states of its answer through
//! [`components::load::Load`], and is made of [`components`]. It never knows
//! how bytes travel: on the server a [`transport::Carrier`] calls the router
//! in-process with the visitor's own cookie, in the browser it fetches.

// The view macro nests one type per element.
#![recursion_limit = "512"]

pub mod app;
pub mod asked;
pub mod browser;
pub mod chart;
pub mod components;
pub mod context;
pub mod failure;
pub mod format;
pub mod live;
pub mod pages;
pub mod passkeys;
pub mod transport;

pub use app::document;

/// Makes the server's HTML come alive. The browser calls it once, after the
/// module is loaded.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    // Without words, all that a visitor could report is "unreachable".
    std::panic::set_hook(Box::new(|panic| {
        web_sys::console::error_1(&panic.to_string().into());
    }));
    leptos::mount::hydrate_body(app::App);
}
