//! `/account/activity`: what happened around one's own account.

use leptos::prelude::*;

use super::AccountHead;
use crate::components::audit::AuditLog;

/// The page.
#[component]
pub fn Activity() -> impl IntoView {
    view! {
        <AccountHead at="/activity" />
        <AuditLog path="/account/audit".to_owned() />
    }
}
