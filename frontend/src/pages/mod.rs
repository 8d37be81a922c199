//! One file per route, named like it.

pub mod account;
pub mod confirm;
pub mod consent;
pub mod device;
pub mod home;
pub mod instance;
pub mod invitation;
pub mod job;
pub mod members;
pub mod not_found;
pub mod org;
pub mod org_audit;
pub mod org_security;
pub mod project;
pub mod project_settings;
pub mod reset;
pub mod run;
pub mod runners;
pub mod setup;
pub mod sign_in;
pub mod verify_email;

use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

/// A part of the address, such as `org`.
fn param(name: &'static str) -> Memo<String> {
    let params = use_params_map();
    Memo::new(move |_| params.with(|p| p.get(name).unwrap_or_default()))
}

/// A value of the query, such as `branch`; empty if absent.
pub(crate) fn query(name: &'static str) -> Memo<String> {
    let query = leptos_router::hooks::use_query_map();
    Memo::new(move |_| query.with(|q| q.get(name).unwrap_or_default()))
}
