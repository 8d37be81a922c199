//! `/{org}/-/security`: what the organisation asks of everybody's sign-in.

use devenv_cloud_api::{factors::SignInPolicy, orgs::Org};
use leptos::prelude::*;

use super::{org::tabs, param};
use crate::{
    asked::ask,
    components::{load::Load, page_head::PageHead, policy::PolicyForm, tabs::Tabs},
    context::use_api,
};

/// The page.
#[component]
pub fn OrgSecurity() -> impl IntoView {
    let api = use_api();
    let slug = param("org");
    let asked = ask(move || {
        let (api, slug) = (api.clone(), slug.get());
        async move {
            let org: Org = api.get(&format!("/orgs/{slug}")).await?;
            let policy: SignInPolicy = api.get(&format!("/orgs/{slug}/sign-in-policy")).await?;
            Ok((org, policy))
        }
    });
    view! {
        <Load
            asked
            what="the policy"
            view=|(org, policy): (Org, SignInPolicy)| {
                let path = format!("/orgs/{}/sign-in-policy", org.slug);
                let tabs = tabs(&org, "security");
                view! {
                    <PageHead title=org.display_name.clone() window_title=format!("Security of {}", org.display_name) />
                    <Tabs label="Organisation" tabs />
                    <section aria-labelledby="policy-title">
                        <h2 id="policy-title">"Sign-in"</h2>
                        <PolicyForm policy path of="the organisation" />
                    </section>
                }
                    .into_any()
            }
        />
    }
}
