//! `/instance/security`: what this instance asks of everybody's sign-in.

use devenv_cloud_api::factors::SignInPolicy;
use leptos::prelude::*;

use super::Head;
use crate::{
    asked::ask,
    components::{load::Load, policy::PolicyForm},
    context::use_api,
};

/// The page.
#[component]
pub fn InstanceSecurity() -> impl IntoView {
    let api = use_api();
    let asked = ask::<SignInPolicy, _>(move || {
        let api = api.clone();
        async move { Ok(api.get("/instance/sign-in-policy").await?) }
    });
    view! {
        <Load
            asked
            what="the policy"
            view=|policy: SignInPolicy| {
                view! {
                    <Head current="security" window_title="Security of the instance" />
                    <section aria-labelledby="policy-title">
                        <h2 id="policy-title">"Sign-in"</h2>
                        <PolicyForm policy path="/instance/sign-in-policy".to_owned() of="this instance" />
                    </section>
                }
                    .into_any()
            }
        />
    }
}
