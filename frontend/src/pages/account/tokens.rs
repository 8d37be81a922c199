//! `/account/tokens`: what programs sign in with.

use devenv_cloud_api::{accounts::Token, page::Page};
use leptos::prelude::*;

use super::AccountHead;
use crate::{
    asked::ask,
    components::{
        load::Load,
        tokens::{CreateTokenForm, TokenRows},
    },
    context::use_api,
};

/// The page of one's tokens.
#[component]
pub fn Tokens() -> impl IntoView {
    let api = use_api();
    let asked = ask::<Page<Token>, _>(move || {
        let api = api.clone();
        async move { Ok(api.get("/account/tokens").await?) }
    });
    let reload = move || asked.refetch();
    view! {
        <AccountHead at="/tokens" />
        <Load
            asked
            what="your tokens"
            view={move |tokens: Page<Token>| {
                view! {
                    <section aria-labelledby="tokens-title">
                        <h2 id="tokens-title">"Tokens"</h2>
                        <p class="muted">"A token is your password for git and the API. It can never do more than you."</p>
                        <CreateTokenForm path="/account/tokens".to_owned() />
                        <TokenRows tokens=tokens.items on_revoked=reload />
                    </section>
                }
                    .into_any()
            }}
        />
    }
}
