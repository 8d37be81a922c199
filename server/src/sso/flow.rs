//! To a provider and back.
//!
//! What binds the two ends is one row that works once: the state is its key, and
//! in it are the nonce, the secret of PKCE, the provider, and the hash of a
//! cookie of the browser that began. Somebody else's answer, another browser's,
//! another provider's or yesterday's finds no row that fits, and then nothing is
//! asked of any provider.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use devenv_cloud_api::{
    accounts::AuthMethod,
    audit::AuditAction,
    ids::{SessionId, UserId},
};
use serde::{Deserialize, Serialize};

use super::{Rejection, github, oidc, oidc::Bound, provider::Provider};
use crate::{
    app::AppParts,
    audit::{self, Event},
    identity::{Origin, arrival::External, secret},
    once::{self, Once},
};

/// What somebody goes to a provider for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intent {
    /// To sign in.
    SignIn {
        /// Whether they want to stay signed in.
        keep: bool,
    },
    /// To link an account there with theirs here.
    Link {
        /// Whose.
        user: UserId,
        /// The session in which they asked for it.
        session: SessionId,
    },
}

/// Sends a browser to a provider.
#[derive(Clone, Debug)]
pub struct Begin<'a> {
    /// The provider's name.
    pub provider: &'a str,
    /// What for.
    pub intent: Intent,
    /// Where to go afterwards; a path of this application.
    pub return_to: Option<String>,
    /// The secret of the browser's cookie; see [`new_binding`].
    pub binding: &'a str,
}

/// What a provider sends back through the browser (RFC 6749 §4.1.2, RFC 9207).
#[derive(Clone, Default, Deserialize)]
pub struct Answer {
    /// The state.
    pub state: Option<String>,
    /// The code.
    pub code: Option<String>,
    /// Who says so.
    pub iss: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
    /// The same in the provider's words.
    pub error_description: Option<String>,
}

/// Somebody who is back from a provider.
#[derive(Debug)]
pub struct Returned {
    /// Who they are there.
    pub external: External,
    /// What they went for.
    pub intent: Intent,
    /// Where they want to go.
    pub return_to: Option<String>,
}

/// What is remembered meanwhile.
#[derive(Serialize, Deserialize)]
struct UnderWay {
    provider: String,
    nonce: String,
    verifier: String,
    browser: Vec<u8>,
    intent: Intent,
    return_to: Option<String>,
}

impl Once for UnderWay {
    const KIND: &'static str = "sign-in at a provider";
    const LIFE: TimeDelta = TimeDelta::minutes(10);
}

/// The secret of a new cookie, which binds what a browser begins to that browser.
#[must_use]
pub fn new_binding(app: &AppParts) -> String {
    random(app)
}

fn random(app: &AppParts) -> String {
    URL_SAFE_NO_PAD.encode(app.random.bytes::<32>())
}

/// The address to which the browser goes now.
///
/// # Errors
/// When there is no such provider, or it cannot be asked how it is to be asked.
pub async fn begin(app: &AppParts, begin: Begin<'_>) -> Result<String, Rejection> {
    let Begin { provider, intent, return_to, binding } = begin;
    let provider = app.sso.find(provider)?;
    let user = match intent {
        Intent::SignIn { .. } => None,
        Intent::Link { user, .. } => Some(user),
    };
    let under_way = UnderWay {
        provider: provider.name.clone(),
        nonce: random(app),
        verifier: random(app),
        browser: secret::hash(binding.as_bytes()),
        intent,
        return_to,
    };
    // Before anything is kept: who cannot be asked needs no row.
    if !provider.is_github() {
        provider.metadata(app).await.map_err(|wrong| logged(wrong.of(&provider)))?;
    }
    let state = once::put(app, &app.db, user, &under_way).await?;
    let bound = Bound { state: &state, nonce: &under_way.nonce, verifier: &under_way.verifier };
    let address = if provider.is_github() {
        github::authorize(app, &provider, &bound)
    } else {
        oidc::authorize(app, &provider, &bound).await
    };
    address.map_err(|wrong| logged(wrong.of(&provider)))
}

/// Takes what a provider sent back through a browser, and finds out who it is.
/// What is refused is in the audit log.
///
/// # Errors
/// See [`Rejection`].
pub async fn come_back(
    app: &AppParts,
    provider: &str,
    answer: Answer,
    binding: Option<&str>,
    origin: &Origin,
) -> Result<Returned, Rejection> {
    let name: String = provider.chars().take(32).collect();
    let result = match app.sso.find(provider) {
        Ok(provider) => take(app, &provider, answer, binding).await,
        Err(rejection) => Err(rejection),
    };
    if let Err(rejection) = &result {
        let target = format!("{name}: {rejection}");
        let event = Event::new(AuditAction::SignIn, origin).with(AuthMethod::Federated).target(&target);
        audit::record(app, &app.db, event.refused()).await?;
        app.metrics.sign_ins.with_label_values(&["refused"]).inc();
    }
    result.map_err(logged)
}

async fn take(
    app: &AppParts,
    provider: &Provider,
    answer: Answer,
    binding: Option<&str>,
) -> Result<Returned, Rejection> {
    let Answer { state, code, iss, error, error_description } = answer;
    let (Some(state), Some(binding)) = (state, binding) else { return Err(Rejection::NotUnderWay) };
    let fits = |under_way: &UnderWay| {
        under_way.provider == provider.name && under_way.browser == secret::hash(binding.as_bytes())
    };
    // Looked at before it is taken: a state that somebody found elsewhere must not
    // even end the sign-in that it is of.
    if !once::look::<UnderWay>(app, &app.db, &state).await?.is_some_and(|under_way| fits(&under_way)) {
        return Err(Rejection::NotUnderWay);
    }
    let under_way: UnderWay = once::take(app, &app.db, &state).await?.ok_or(Rejection::NotUnderWay)?;
    check_issuer(app, provider, iss.as_deref()).await?;
    if let Some(error) = error {
        return Err(Rejection::Denied {
            provider: provider.settings.label.clone(),
            error: plain(&error),
            description: plain(&error_description.unwrap_or_default()),
        });
    }
    let not_believed =
        |why: &str| Rejection::NotBelieved { provider: provider.settings.label.clone(), why: why.to_owned() };
    let code = code.filter(|code| !code.is_empty()).ok_or_else(|| not_believed("it brought no code"))?;
    let bound = Bound { state: &state, nonce: &under_way.nonce, verifier: &under_way.verifier };
    let external = if provider.is_github() {
        github::arrive(app, provider, &code, &bound).await
    } else {
        oidc::arrive(app, provider, &code, &bound).await
    };
    let external = external.map_err(|wrong| wrong.of(provider))?;
    check_domain(provider, &external)?;
    Ok(Returned { external, intent: under_way.intent, return_to: under_way.return_to })
}

/// Whether the answer comes from the one who was asked (RFC 9207 §2.4), before
/// the code is shown to anybody.
async fn check_issuer(app: &AppParts, provider: &Provider, iss: Option<&str>) -> Result<(), Rejection> {
    let (expected, announced) = if provider.is_github() {
        (github::issuer(provider), false)
    } else {
        let metadata = provider.metadata(app).await.map_err(|wrong| wrong.of(provider))?;
        (metadata.issuer.clone(), metadata.authorization_response_iss_parameter_supported)
    };
    let why = match iss {
        Some(iss) if iss != expected => "it comes from somebody else (iss)",
        None if announced => "it does not say whom it comes from, although it always does (iss)",
        _ => return Ok(()),
    };
    Err(Rejection::NotBelieved { provider: provider.settings.label.clone(), why: why.to_owned() })
}

fn check_domain(provider: &Provider, external: &External) -> Result<(), Rejection> {
    let domains = &provider.settings.allowed_domains.0;
    if domains.is_empty() {
        return Ok(());
    }
    let domain = external.email.as_deref().and_then(|email| email.rsplit_once('@')).map(|(_, domain)| domain);
    match domain {
        Some(domain) if domains.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain)) => Ok(()),
        _ => Err(Rejection::NotAllowed(format!(
            "only people with a verified e-mail address of {} may sign in with {}",
            domains.join(", "),
            provider.settings.label
        ))),
    }
}

/// Words of somebody else's, to be shown: a line of them.
fn plain(words: &str) -> String {
    words.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// What people are told is not all that administrators need.
fn logged(rejection: Rejection) -> Rejection {
    match &rejection {
        Rejection::NoAnswer { provider, why } => tracing::warn!(provider, why, "a provider cannot be asked"),
        Rejection::NotBelieved { provider, why } => {
            tracing::warn!(provider, why, "a provider's answer was refused");
        }
        _ => {}
    }
    rejection
}
