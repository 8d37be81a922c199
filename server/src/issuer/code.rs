//! The way by redirects: an application sends somebody here, they allow it, and
//! go back with a code that the application turns into a token (RFC 6749 §4.1,
//! with PKCE as RFC 9700 wants it).
//!
//! Until it is known that the application and the address belong together,
//! nobody is sent anywhere: what is wrong is shown here. A request waits under a
//! key of its own, so that it survives signing in and its parameters are not
//! passed around in addresses.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use devenv_cloud_api::{Timestamp, audit::AuditAction, ids::UserId, issuer::Authorization};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    client::{self, Client, shown},
    error::OAuthError,
    keys,
    scopes::Scopes,
    store,
    tokens::{self, Given, Grant, Issued},
};
use crate::{
    app::AppParts,
    audit::{self, Event},
    identity::{Origin, SessionPrincipal, step_up},
    once::{self, Once},
    refusal::Refusal,
};

/// What an application asks for (OIDC core §3.1.2.1).
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "the parameters' names are the standard's")]
pub struct AuthorizeParams {
    pub response_type: Option<String>,
    pub response_mode: Option<String>,
    pub client_id: Option<String>,
    pub redirect_uri: Option<String>,
    pub scope: Option<String>,
    pub state: Option<String>,
    pub nonce: Option<String>,
    pub code_challenge: Option<String>,
    pub code_challenge_method: Option<String>,
    pub prompt: Option<String>,
    pub max_age: Option<String>,
    pub id_token_hint: Option<String>,
    pub request: Option<String>,
    pub request_uri: Option<String>,
}

/// What comes next for the browser.
#[derive(Debug)]
pub enum Step {
    /// The person is asked, under this key.
    Ask(String),
    /// Back to the application.
    Return(String),
}

/// Why nobody is sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// No application of this name.
    Client,
    /// Not this application's address.
    Redirect,
}

impl Untrusted {
    /// The word for the page that says so.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Redirect => "redirect",
        }
    }
}

/// A request that waits for the person.
#[derive(Clone, Serialize, Deserialize)]
struct Request {
    client: String,
    redirect_uri: String,
    scopes: Scopes,
    state: Option<String>,
    nonce: Option<String>,
    challenge: String,
    /// The sign-in must be newer than this.
    newer_than: Option<Timestamp>,
    /// The person that the application expects.
    expected: Option<UserId>,
}

impl Once for Request {
    const KIND: &'static str = "issuer.request";
    const LIFE: TimeDelta = TimeDelta::minutes(15);
}

/// A code on its way.
#[derive(Serialize, Deserialize)]
struct Code {
    grant: Grant,
    redirect_uri: String,
    challenge: String,
}

impl Once for Code {
    const KIND: &'static str = "issuer.code";
    const LIFE: TimeDelta = TimeDelta::seconds(60);
}

/// A code that was used, and what it gave: who comes with it again has stolen
/// it, or it was stolen from them.
#[derive(Serialize, Deserialize)]
struct Used {
    client: String,
    user: UserId,
    given: Given,
}

impl Once for Used {
    const KIND: &'static str = "issuer.code-used";
    const LIFE: TimeDelta = TimeDelta::hours(1);
}

/// An error for the application (RFC 6749 §4.1.2.1, OIDC core §3.1.2.6).
type Refused = (&'static str, &'static str);

impl Request {
    /// Where to go back to with this answer, and who answers (RFC 9207).
    fn answer(&self, app: &AppParts, answer: &[(&str, &str)]) -> Result<String, Refusal> {
        let iss = app.config.server.base_url.as_str();
        let state = self.state.as_deref().map(|state| ("state", state));
        let all: Vec<_> = answer.iter().copied().chain(state).chain([("iss", iss)]).collect();
        let query = serde_urlencoded::to_string(all).map_err(|e| Refusal::Failed(e.into()))?;
        let join = if self.redirect_uri.contains('?') { '&' } else { '?' };
        Ok(format!("{}{join}{query}", self.redirect_uri))
    }

    fn refuse(&self, app: &AppParts, (error, why): Refused) -> Result<String, Refusal> {
        self.answer(app, &[("error", error), ("error_description", why)])
    }

    /// Whether this session is what the application insists on.
    fn is_met_by(&self, session: &SessionPrincipal) -> bool {
        self.newer_than.is_none_or(|time| session.authenticated_at > time)
            && self.expected.is_none_or(|user| user == session.user.id)
    }
}

/// Looks at a request.
///
/// # Errors
/// When nobody can be sent back; the inner error is what the person is shown.
pub async fn authorize(
    app: &AppParts,
    params: AuthorizeParams,
    session: Option<&SessionPrincipal>,
    origin: &Origin,
) -> Result<Result<Step, Untrusted>, Refusal> {
    let Some(client) = params.client_id.as_deref().and_then(|id| client::find(app, id)) else {
        return Ok(Err(Untrusted::Client));
    };
    let Some(redirect_uri) = params.redirect_uri.clone().filter(|uri| client.may_redirect_to(uri)) else {
        return Ok(Err(Untrusted::Redirect));
    };
    let mut request = Request {
        client: client.id.clone(),
        redirect_uri,
        scopes: Scopes::default(),
        state: params.state.clone(),
        nonce: params.nonce.clone(),
        challenge: String::new(),
        newer_than: None,
        expected: None,
    };
    if let Err(refused) = read(app, &client, &params, &mut request).await? {
        return Ok(Ok(Step::Return(request.refuse(app, refused)?)));
    }
    let prompt: Vec<&str> = params.prompt.as_deref().unwrap_or_default().split_whitespace().collect();
    let silent = prompt.contains(&"none");
    if silent && prompt.len() > 1 {
        let refused = ("invalid_request", "prompt=none goes with nothing else");
        return Ok(Ok(Step::Return(request.refuse(app, refused)?)));
    }
    let known = match session.filter(|session| request.is_met_by(session)) {
        Some(session) if prompt.is_empty() || silent => {
            let again = allowed_before(app, &client, &request, session).await?;
            if again {
                let code = give_code(app, &request, session, None, origin).await?;
                return Ok(Ok(Step::Return(code)));
            }
            true
        }
        session => session.is_some(),
    };
    if silent {
        let refused = if known {
            ("consent_required", "the person must be asked")
        } else {
            ("login_required", "the person must sign in")
        };
        return Ok(Ok(Step::Return(request.refuse(app, refused)?)));
    }
    Ok(Ok(Step::Ask(once::put(app, &app.db, None, &request).await?)))
}

/// Fills in what the parameters say.
async fn read(
    app: &AppParts,
    client: &Client,
    params: &AuthorizeParams,
    request: &mut Request,
) -> Result<Result<(), Refused>, Refusal> {
    let invalid = |why| Ok(Err(("invalid_request", why)));
    if params.request.is_some() {
        return Ok(Err(("request_not_supported", "send the parameters as they are")));
    }
    if params.request_uri.is_some() {
        return Ok(Err(("request_uri_not_supported", "send the parameters as they are")));
    }
    match params.response_type.as_deref() {
        Some("code") => {}
        None => return invalid("response_type is missing"),
        Some(_) => return Ok(Err(("unsupported_response_type", "response_type can be `code` alone"))),
    }
    if params.response_mode.as_deref().is_some_and(|mode| mode != "query") {
        return invalid("response_mode can be `query` alone");
    }
    // 43 characters are the 32 bytes of SHA-256.
    let challenge = params.code_challenge.clone().unwrap_or_default();
    if params.code_challenge_method.as_deref() != Some("S256")
        || URL_SAFE_NO_PAD.decode(&challenge).is_ok_and(|hash| hash.len() != 32)
        || challenge.len() != 43
    {
        return invalid("PKCE is required: code_challenge with code_challenge_method=S256");
    }
    request.challenge = challenge;
    request.scopes = Scopes::parse(params.scope.as_deref().unwrap_or_default());
    if !client.api {
        request.scopes.api.clear();
    }
    if request.scopes.is_empty() {
        return Ok(Err((
            "invalid_scope",
            "ask for openid, profile, email, or what the client may do with the API",
        )));
    }
    let now = app.clock.now();
    if let Some(seconds) = &params.max_age {
        let Some(age) =
            seconds.parse().ok().and_then(TimeDelta::try_seconds).filter(|age| *age >= TimeDelta::zero())
        else {
            return invalid("max_age is a number of seconds");
        };
        request.newer_than = now.checked_sub_signed(age);
    }
    if params.prompt.as_deref().unwrap_or_default().split_whitespace().any(|word| word == "login") {
        request.newer_than = Some(now);
    }
    if let Some(hint) = &params.id_token_hint {
        match tokens::verify_id_token(app, hint, &client.id, true).await? {
            Ok(claims) => request.expected = Some(claims.sub),
            Err(_) => return invalid("id_token_hint is no token that this client got here"),
        }
    }
    Ok(Ok(()))
}

/// Whether the person need not be asked. Only for applications that prove who
/// they are (RFC 8252 §8.6), and for no token that opens the API.
async fn allowed_before(
    app: &AppParts,
    client: &Client,
    request: &Request,
    session: &SessionPrincipal,
) -> Result<bool, Refusal> {
    if client.is_public() || !request.scopes.api.is_empty() || super::require_standing(session).is_err() {
        return Ok(false);
    }
    let known = store::consent(&app.db, session.user.id, &client.id).await?;
    Ok(known.is_some_and(|known| request.scopes.within(&Scopes::parse(&known))))
}

/// Gives the code, in the transaction that used the request up, if there is one.
async fn give_code(
    app: &AppParts,
    request: &Request,
    session: &SessionPrincipal,
    tx: Option<&mut crate::db::Tx>,
    origin: &Origin,
) -> Result<String, Refusal> {
    let code = Code {
        grant: Grant {
            user: session.user.id,
            client: request.client.clone(),
            scopes: request.scopes.clone(),
            nonce: request.nonce.clone(),
            methods: session.methods.clone(),
            authenticated_at: session.authenticated_at,
        },
        redirect_uri: request.redirect_uri.clone(),
        challenge: request.challenge.clone(),
    };
    let key = match tx {
        Some(tx) => once::put(app, tx, Some(session.user.id), &code).await?,
        None => once::put(app, &app.db, Some(session.user.id), &code).await?,
    };
    tracing::info!(client = request.client, user = %session.user.id, address = %origin.address, "code given");
    request.answer(app, &[("code", &key)])
}

/// What waits under this key, for the person who is asked.
///
/// # Errors
/// When nothing does (any more).
pub async fn show(app: &AppParts, asker: &SessionPrincipal, key: &str) -> Result<Authorization, Refusal> {
    let request: Request = once::look(app, &app.db, key).await?.ok_or(Refusal::NotFound)?;
    let url = reqwest::Url::parse(&request.redirect_uri).map_err(|e| Refusal::Failed(e.into()))?;
    Ok(Authorization {
        client: shown(&request.client),
        returns_to: url.host_str().unwrap_or_default().to_owned(),
        sign_in_again: !request.is_met_by(asker),
        claims: request.scopes.claims,
        scopes: request.scopes.api,
    })
}

/// The person's word. Returns where to go.
///
/// # Errors
/// When nothing waits under this key (any more), this session is not what the
/// application insists on, or a token for the API takes a more recent proof.
pub async fn decide(
    app: &AppParts,
    asker: &SessionPrincipal,
    key: &str,
    allow: bool,
    origin: &Origin,
) -> Result<String, Refusal> {
    let request: Request = once::look(app, &app.db, key).await?.ok_or(Refusal::NotFound)?;
    if allow && !request.is_met_by(asker) {
        return Err(Refusal::Conflict("the application wants you to sign in once more".to_owned()));
    }
    // What opens the API is as good as a token that they make themselves.
    if allow && !request.scopes.api.is_empty() && !step_up::is_fresh(asker, app.clock.now()) {
        return Err(Refusal::StepUp);
    }
    if allow {
        super::require_standing(asker)?;
    }
    let mut tx = app.db.begin().await?;
    if once::take::<Request>(app, &mut tx, key).await?.is_none() {
        return Err(Refusal::NotFound);
    }
    let to = if allow {
        let now = app.clock.now();
        store::put_consent(&mut tx, asker.user.id, &request.client, &request.scopes.to_string(), now).await?;
        give_code(app, &request, asker, Some(&mut tx), origin).await?
    } else {
        request.refuse(app, ("access_denied", "the person said no"))?
    };
    tx.commit().await?;
    Ok(to)
}

/// The application turns its code into a token.
///
/// # Errors
/// When the code is none, was used, or belongs to another application, address
/// or verifier.
pub async fn redeem(
    app: &AppParts,
    client: &Client,
    code: &str,
    redirect_uri: &str,
    verifier: &str,
    origin: &Origin,
) -> Result<Issued, OAuthError> {
    let wrong = |why: &str| Err(OAuthError::InvalidGrant(why.to_owned()));
    let signer = keys::signer(app).await?;
    let mut tx = app.db.begin().await?;
    let Some(found) = once::take::<Code>(app, &mut tx, code).await? else {
        if let Some(used) = once::take::<Used>(app, &mut tx, code).await? {
            tokens::take_back(app, &mut tx, used.given).await?;
            let user = crate::identity::find_user(&mut tx, used.user).await?;
            let event = Event::new(AuditAction::RevokeToken, origin);
            let event = event.target(&format!("{}: its code came twice", used.client));
            let event = match &user {
                Some(user) => event.about(user),
                None => event,
            };
            audit::record(app, &mut tx, event).await?;
            tx.commit().await?;
        }
        return wrong("there is no such code (any more): it works once, within a minute");
    };
    // From here on the code is used up, whatever comes of it.
    let refused = if found.grant.client != client.id {
        Some("the code was given to another client")
    } else if found.redirect_uri != redirect_uri {
        Some("redirect_uri is not the one that the code was sent to")
    } else if !is_verifier(verifier) || challenge_of(verifier) != found.challenge {
        Some("code_verifier does not belong to the code's challenge")
    } else {
        None
    };
    if let Some(why) = refused {
        tx.commit().await?;
        return wrong(why);
    }
    let (issued, given) = tokens::issue(app, &mut tx, &signer, &found.grant, origin).await?;
    let used = Used { client: client.id.clone(), user: found.grant.user, given };
    once::put_as(app, &mut tx, code, Some(found.grant.user), &used).await?;
    tx.commit().await?;
    Ok(issued)
}

/// RFC 7636 §4.1.
fn is_verifier(text: &str) -> bool {
    (43..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c))
}

fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7636, appendix B.
    #[test]
    fn a_challenge_is_what_the_standard_says() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert!(is_verifier(verifier));
        assert_eq!(challenge_of(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        for wrong in ["", "short", &"a".repeat(129), &format!("{}!", "a".repeat(50))] {
            assert!(!is_verifier(wrong), "{wrong}");
        }
    }
}
