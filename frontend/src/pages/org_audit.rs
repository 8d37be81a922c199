//! `/{org}/-/audit`: what happened around an organisation.

use devenv_cloud_api::orgs::Org;
use leptos::prelude::*;

use super::{org::tabs, param};
use crate::{
    asked::ask,
    components::{audit::AuditLog, load::Load, page_head::PageHead, tabs::Tabs},
    context::use_api,
};

/// The page.
#[component]
pub fn OrgAudit() -> impl IntoView {
    let api = use_api();
    let slug = param("org");
    let asked = ask::<Org, _>(move || {
        let (api, slug) = (api.clone(), slug.get());
        async move { Ok(api.get(&format!("/orgs/{slug}")).await?) }
    });
    let show = move |org: Org| {
        let tabs = tabs(&org, "audit");
        let window_title = format!("Audit log of {}", org.display_name);
        let path = format!("/orgs/{}/audit", org.slug);
        view! {
            <PageHead title=org.display_name window_title />
            <Tabs label="Organisation" tabs />
            <AuditLog path />
        }
        .into_any()
    };
    view! { <Load asked what="the organisation" view=show /> }
}
