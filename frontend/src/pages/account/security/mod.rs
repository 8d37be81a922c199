//! `/account/security`: what I sign in with.

pub mod codes;
pub mod links;
pub mod passkeys;
pub mod recovery;

use devenv_cloud_api::{
    factors::{Factors, SecondFactor, Standing},
    page::Page,
    sign_in::{LinkedAccount, Provider, SignInState},
};
use leptos::prelude::*;

use super::AccountHead;
use crate::{
    asked::ask,
    components::{load::Load, time::Until},
    context::use_api,
};

/// The page.
#[component]
pub fn Security() -> impl IntoView {
    let api = use_api();
    let asked = ask(move || {
        let api = api.clone();
        async move {
            let factors: Factors = api.get("/account/factors").await?;
            let links: Page<LinkedAccount> = api.get("/account/links?limit=100").await?;
            let way: SignInState = api.get("/sign-in").await?;
            Ok((factors, links, way.providers))
        }
    });
    let reload = Callback::new(move |()| asked.refetch());
    view! {
        <AccountHead at="/security" />
        <Load
            asked
            what="what you sign in with"
            view=move |(factors, links, providers): (Factors, Page<LinkedAccount>, Vec<Provider>)| {
                let elsewhere = !links.items.is_empty() || !providers.is_empty();
                view! {
                    <Asked factors=factors.clone() />
                    <div class="sections">
                        <section aria-labelledby="passkeys-title">
                            <h2 id="passkeys-title">"Passkeys"</h2>
                            <p class="muted">
                                "A passkey is all you need to sign in: your device or password manager keeps it, and no "
                                "impostor's page can ask for it."
                            </p>
                            <passkeys::Passkeys passkeys=factors.passkeys.clone() reload />
                        </section>
                        <section aria-labelledby="codes-title">
                            <h2 id="codes-title">"One-time codes"</h2>
                            <codes::Codes since=factors.codes_since reload />
                        </section>
                        <section aria-labelledby="recovery-title">
                            <h2 id="recovery-title">"Recovery codes"</h2>
                            <recovery::Recovery factors=factors.clone() reload />
                        </section>
                        {elsewhere
                            .then(|| {
                                view! {
                                    <section aria-labelledby="links-title">
                                        <h2 id="links-title">"Linked accounts"</h2>
                                        <p class="muted">"Accounts elsewhere with which you sign in here."</p>
                                        <links::Links links=links.items providers reload />
                                    </section>
                                }
                            })}
                    </div>
                }
                    .into_any()
            }
        />
    }
}

/// What is asked of the person, if they do not have it yet.
#[component]
fn Asked(factors: Factors) -> impl IntoView {
    let what = match factors.asked {
        SecondFactor::Optional => return ().into_any(),
        SecondFactor::Required => "a passkey or one-time codes",
        SecondFactor::PhishingResistant => "a passkey",
    };
    match factors.standing {
        Standing::Fine => ().into_any(),
        Standing::Grace => view! {
            <p class="notice">
                "You are asked to sign in with " {what} ". "
                {factors.due_at.map(|time| view! { "Set it up: you have time " <Until time /> "." })}
            </p>
        }
        .into_any(),
        Standing::MustEnrol => view! {
            <p class="notice is-failure" role="alert">
                "You are asked to sign in with " {what} ". Set it up below; then you can go on."
            </p>
        }
        .into_any(),
        Standing::MustProve => view! {
            <p class="notice is-failure" role="alert">
                "You signed in without " {what}
                ", which is asked for. Sign out and in again, or change something below and confirm it."
            </p>
        }
        .into_any(),
    }
}
