//! `/instance/audit`: what happened on the instance.

use leptos::prelude::*;

use super::Head;
use crate::components::audit::AuditLog;

/// The page.
#[component]
pub fn InstanceAudit() -> impl IntoView {
    view! {
        <Head current="audit" window_title="Audit log" />
        <AuditLog path="/instance/audit".to_owned() />
    }
}
