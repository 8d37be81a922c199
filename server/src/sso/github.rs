//! Who somebody is at GitHub, which speaks OAuth 2 and no OpenID Connect.
//!
//! The number of an account is the identity. Its name is not: names are changed
//! and taken over by others.

use serde::Deserialize;

use super::{
    Wrong, oidc,
    oidc::{Bound, Client},
    provider::{Provider, get},
};
use crate::{app::AppParts, identity::arrival::External};

/// GitHub's usual address.
const PUBLIC: &str = "https://github.com";

/// The account (GitHub's `GET /user`).
#[derive(Deserialize)]
struct Account {
    id: u64,
    login: String,
    name: Option<String>,
}

/// An address (GitHub's `GET /user/emails`).
#[derive(Deserialize)]
struct Email {
    email: String,
    primary: bool,
    verified: bool,
}

fn base(provider: &Provider) -> &str {
    provider.settings.issuer.trim_end_matches('/')
}

/// GitHub's API, and that of an Enterprise Server.
fn api(provider: &Provider) -> String {
    match base(provider) {
        PUBLIC => "https://api.github.com".to_owned(),
        own => format!("{own}/api/v3"),
    }
}

/// What GitHub calls itself as an authorization server, should it say so (RFC 9207).
pub(super) fn issuer(provider: &Provider) -> String {
    format!("{}/login/oauth", base(provider))
}

fn client(app: &AppParts, provider: &Provider) -> Result<Client, Wrong> {
    let base = issuer(provider);
    oidc::client(app, provider, (&format!("{base}/authorize"), &format!("{base}/access_token")), true)
}

/// Where to send somebody.
pub(super) fn authorize(app: &AppParts, provider: &Provider, bound: &Bound<'_>) -> Result<String, Wrong> {
    app.outgoing.check(&issuer(provider)).map_err(Wrong::Silence)?;
    Ok(oidc::authorize_url(&client(app, provider)?, provider, bound))
}

/// Who it is for whom GitHub gave this code.
pub(super) async fn arrive(
    app: &AppParts,
    provider: &Provider,
    code: &str,
    bound: &Bound<'_>,
) -> Result<External, Wrong> {
    let (token, _) = oidc::exchange(app, &client(app, provider)?, code, bound.verifier).await?;
    let api = api(provider);
    let account: Account = get(app, &format!("{api}/user"), Some(&token)).await?;
    let emails: Vec<Email> = get(app, &format!("{api}/user/emails"), Some(&token)).await?;
    let primary = emails.into_iter().find(|email| email.primary && email.verified);
    Ok(External {
        provider: provider.name.clone(),
        provider_label: provider.settings.label.clone(),
        subject: account.id.to_string(),
        label: account.login,
        email: primary.map(|email| email.email),
        name: account.name,
        session: None,
        creates: provider.settings.create_accounts,
    })
}
