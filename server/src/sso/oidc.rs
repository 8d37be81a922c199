//! Who somebody is at an OpenID Connect provider.

use chrono::TimeDelta;
use devenv_cloud_api::Timestamp;
use futures::future::BoxFuture;
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RequestTokenError, Scope, StandardRevocableToken, StandardTokenResponse, TokenResponse as _,
    TokenUrl,
    basic::{
        BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
    },
};
use openidconnect::core::CoreJsonWebKey as Key;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{
    Wrong,
    jws::{self, NotOpened, no},
    provider::{Metadata, Provider, get},
};
use crate::{
    app::AppParts,
    config::{Algorithms, ProviderKind, ResponseMode},
    identity::arrival::External,
    outgoing::{Outgoing, OutgoingError},
};

/// How far a provider's clock may be off.
pub(super) const SKEW: TimeDelta = TimeDelta::seconds(60);
/// How old a token may be that was issued for a code just now.
const OLD: TimeDelta = TimeDelta::minutes(10);

/// What comes with an access token.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Extra {
    id_token: Option<String>,
}

impl ExtraTokenFields for Extra {}

type Tokens = StandardTokenResponse<Extra, BasicTokenType>;

pub(super) type Client = oauth2::Client<
    BasicErrorResponse,
    Tokens,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// We, as a provider knows us.
pub(super) fn client(
    app: &AppParts,
    provider: &Provider,
    (authorize, token): (&str, &str),
    in_body: bool,
) -> Result<Client, Wrong> {
    let settings = &provider.settings;
    let address = |what: &str| Wrong::Silence(format!("`{}` is no address", what.escape_debug()));
    let callback = super::callback_url(app, &provider.name);
    let client = oauth2::Client::new(ClientId::new(settings.client_id.clone()))
        .set_auth_uri(AuthUrl::new(authorize.to_owned()).map_err(|_| address(authorize))?)
        .set_token_uri(TokenUrl::new(token.to_owned()).map_err(|_| address(token))?)
        .set_redirect_uri(RedirectUrl::new(callback.clone()).map_err(|_| address(&callback))?)
        .set_auth_type(if in_body { AuthType::RequestBody } else { AuthType::BasicAuth });
    Ok(match settings.client_secret.reveal() {
        "" => client.set_auth_type(AuthType::RequestBody),
        secret => client.set_client_secret(ClientSecret::new(secret.to_owned())),
    })
}

fn client_of(app: &AppParts, provider: &Provider, metadata: &Metadata) -> Result<Client, Wrong> {
    // Without a word about it, the way that all must know (RFC 8414 §2).
    let ways = &metadata.token_endpoint_auth_methods_supported;
    let knows = |way: &str| ways.iter().any(|known| known == way);
    let in_body = !knows("client_secret_basic") && knows("client_secret_post");
    client(app, provider, (&metadata.authorization_endpoint, &metadata.token_endpoint), in_body)
}

/// What binds a provider's answer to a question.
pub(super) struct Bound<'a> {
    pub(super) state: &'a str,
    pub(super) nonce: &'a str,
    pub(super) verifier: &'a str,
}

/// Where to send somebody.
pub(super) async fn authorize(
    app: &AppParts,
    provider: &Provider,
    bound: &Bound<'_>,
) -> Result<String, Wrong> {
    let metadata = provider.metadata(app).await?;
    let client = client_of(app, provider, &metadata)?;
    Ok(authorize_url(&client, provider, bound))
}

/// The address for [`authorize`], with what is asked of everybody: a state, a
/// nonce, and the proof of who will come for the tokens (RFC 7636, S256).
pub(super) fn authorize_url(client: &Client, provider: &Provider, bound: &Bound<'_>) -> String {
    let verifier = PkceCodeVerifier::new(bound.verifier.to_owned());
    let state = bound.state.to_owned();
    let mut request = client
        .authorize_url(move || CsrfToken::new(state))
        .add_scopes(provider.settings.scopes.0.iter().cloned().map(Scope::new))
        .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
    if !provider.is_github() {
        request = request.add_extra_param("nonce", bound.nonce);
    }
    if provider.settings.response_mode == ResponseMode::FormPost {
        request = request.add_extra_param("response_mode", "form_post");
    }
    request.url().0.into()
}

/// The guarded client, for the library.
struct Http<'a>(&'a Outgoing);

impl<'c> AsyncHttpClient<'c> for Http<'_> {
    type Error = OutgoingError;
    type Future = BoxFuture<'c, Result<HttpResponse, OutgoingError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.0.send(request))
    }
}

/// Exchanges a code for tokens.
pub(super) async fn exchange(
    app: &AppParts,
    client: &Client,
    code: &str,
    verifier: &str,
) -> Result<(String, Option<String>), Wrong> {
    let http = Http(&app.outgoing);
    let tokens = client
        .exchange_code(AuthorizationCode::new(code.to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(verifier.to_owned()))
        .request_async(&http)
        .await
        .map_err(|error| match error {
            RequestTokenError::Request(error) => error.into(),
            RequestTokenError::ServerResponse(error) => {
                Wrong::Words(format!("it does not exchange the code: {error}"))
            }
            // Neither says what came: a token may be in it.
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                Wrong::words("what it exchanges the code for is no token")
            }
        })?;
    if !matches!(tokens.token_type(), BasicTokenType::Bearer) {
        return Err(Wrong::words("its token is of a type that is not known here"));
    }
    Ok((tokens.access_token().secret().clone(), tokens.extra_fields().id_token.clone()))
}

/// Who it is for whom the provider gave this code.
pub(super) async fn arrive(
    app: &AppParts,
    provider: &Provider,
    code: &str,
    bound: &Bound<'_>,
) -> Result<External, Wrong> {
    let metadata = provider.metadata(app).await?;
    let client = client_of(app, provider, &metadata)?;
    let (access_token, id_token) = exchange(app, &client, code, bound.verifier).await?;
    let id_token = id_token.ok_or_else(|| Wrong::words("it gives no ID token"))?;
    let settings = &provider.settings;
    let expected = Expected {
        issuer: &metadata.issuer,
        client_id: &settings.client_id,
        other_audiences: &settings.other_audiences.0,
        nonce: bound.nonce,
        access_token: &access_token,
        code,
        now: app.clock.now(),
    };
    let check = |keys: &[Key]| validate(&id_token, &expected, &settings.allowed_algorithms, keys);
    let claims = with_keys(app, provider, check).await?;
    let mut about = claims.about;
    if about.email.is_none()
        && let Some(address) = &metadata.userinfo_endpoint
    {
        let more: UserInfo = get(app, address, Some(&access_token)).await?;
        if more.sub != claims.sub {
            return Err(Wrong::words("its two answers are about two people"));
        }
        about = more.about.or(about);
    }
    require_hosted_domain(provider, claims.hd.as_deref())?;
    Ok(External {
        provider: provider.name.clone(),
        provider_label: provider.settings.label.clone(),
        label: about.label().unwrap_or_else(|| claims.sub.clone()),
        email: about.verified_email(),
        name: about.name,
        subject: claims.sub,
        session: claims.sid,
        creates: settings.create_accounts,
    })
}

/// Does something with the provider's keys, and once more with newer ones if
/// none of those that are known fits.
pub(super) async fn with_keys<T>(
    app: &AppParts,
    provider: &Provider,
    check: impl Fn(&[Key]) -> Result<T, NotOpened>,
) -> Result<T, Wrong> {
    let keys = provider.keys(app).await?;
    let mut result = check(&keys);
    if matches!(result, Err(NotOpened::NoKey(_)))
        && let Some(newer) = provider.newer_keys(app, &keys).await?
    {
        result = check(&newer);
    }
    result.map_err(|not_opened| match not_opened {
        NotOpened::NoKey(why) | NotOpened::Bad(why) => Wrong::Words(why),
    })
}

/// Google verifies whichever address somebody has, but only of its hosted
/// domains it knows that the domain's owner agrees.
fn require_hosted_domain(provider: &Provider, hosted: Option<&str>) -> Result<(), Wrong> {
    let settings = &provider.settings;
    let domains = &settings.allowed_domains.0;
    let is_in = |domain: &str| domains.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain));
    if settings.kind != ProviderKind::Google || domains.is_empty() || is_in("gmail.com") {
        return Ok(());
    }
    match hosted {
        Some(domain) if is_in(domain) => Ok(()),
        _ => Err(Wrong::words("this account is not one of an organisation that may sign in here")),
    }
}

/// What an ID token must be about.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) other_audiences: &'a [String],
    pub(super) nonce: &'a str,
    pub(super) access_token: &'a str,
    pub(super) code: &'a str,
    pub(super) now: Timestamp,
}

/// What an ID token says (OpenID Connect Core §2).
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    iss: String,
    pub(super) sub: String,
    aud: Audience,
    azp: Option<String>,
    #[serde(deserialize_with = "seconds")]
    exp: i64,
    #[serde(deserialize_with = "seconds")]
    iat: i64,
    #[serde(default, deserialize_with = "maybe_seconds")]
    nbf: Option<i64>,
    nonce: Option<String>,
    at_hash: Option<String>,
    c_hash: Option<String>,
    sid: Option<String>,
    /// Google's: the organisation that the account belongs to.
    hd: Option<String>,
    #[serde(flatten)]
    about: About,
}

/// What a provider says about a person, in either of its answers.
#[derive(Debug, Default, Deserialize)]
struct About {
    email: Option<String>,
    /// Whatever it is: only the truth value counts, and no word for it.
    email_verified: Option<Value>,
    name: Option<String>,
    preferred_username: Option<String>,
    nickname: Option<String>,
}

#[derive(Debug, Deserialize)]
struct UserInfo {
    sub: String,
    #[serde(flatten)]
    about: About,
}

impl About {
    fn verified_email(&self) -> Option<String> {
        self.email.clone().filter(|_| self.email_verified == Some(Value::Bool(true)))
    }

    /// What people know the account by.
    fn label(&self) -> Option<String> {
        let all = [&self.preferred_username, &self.nickname, &self.email];
        all.into_iter().flatten().find(|word| !word.is_empty()).cloned()
    }

    /// This, and where it says nothing, the other. An address and whether it is
    /// verified come from the same answer.
    fn or(self, other: Self) -> Self {
        let (email, email_verified) = match self.email {
            Some(email) => (Some(email), self.email_verified),
            None => (other.email, other.email_verified),
        };
        Self {
            email,
            email_verified,
            name: self.name.or(other.name),
            preferred_username: self.preferred_username.or(other.preferred_username),
            nickname: self.nickname.or(other.nickname),
        }
    }
}

/// One or several (RFC 7519 §4.1.3).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    /// Whether it is for us, and for nobody beside us who is not known to be harmless.
    pub(super) fn check(&self, client_id: &str, others: &[String]) -> Result<usize, String> {
        let all = match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        };
        if !all.iter().any(|audience| audience == client_id) {
            return Err("its token is for somebody else (aud)".to_owned());
        }
        match all.iter().find(|audience| *audience != client_id && !others.contains(audience)) {
            Some(other) => Err(format!(
                "its token is for `{}`, too (aud); an administrator can allow it with other_audiences",
                other.escape_debug()
            )),
            None => Ok(all.len()),
        }
    }
}

/// Seconds since 1970, which need not be whole ones (RFC 7519 §2).
pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    maybe_seconds(deserializer)?.ok_or_else(|| serde::de::Error::custom("no time"))
}

pub(super) fn maybe_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let number = Option::<serde_json::Number>::deserialize(deserializer)?;
    #[expect(clippy::cast_possible_truncation, reason = "what is too large becomes the largest")]
    Ok(number.and_then(|number| number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64))))
}

/// Checks what every token of a provider must say of its times.
pub(super) fn check_times(
    now: Timestamp,
    exp: Option<i64>,
    iat: i64,
    nbf: Option<i64>,
    old: TimeDelta,
) -> Result<(), &'static str> {
    let (now, skew) = (now.timestamp(), SKEW.num_seconds());
    if exp.is_some_and(|exp| exp.saturating_add(skew) <= now) {
        Err("its token has expired (exp)")
    } else if iat.saturating_sub(skew) > now {
        Err("its token is from the future (iat): one of the two clocks is wrong")
    } else if iat.saturating_add(skew + old.num_seconds()) < now {
        Err("its token is old (iat)")
    } else if nbf.is_some_and(|nbf| nbf.saturating_sub(skew) > now) {
        Err("its token is not valid yet (nbf)")
    } else {
        Ok(())
    }
}

/// Whether an ID token says what it must to be believed (OpenID Connect Core
/// §3.1.3.7), and more strictly so: every audience must be known, the party that
/// asked for it must be us, and it must be of now.
pub(super) fn validate(
    token: &str,
    expected: &Expected<'_>,
    allowed: &Algorithms,
    keys: &[Key],
) -> Result<Claims, NotOpened> {
    let opened = jws::open(token, allowed, keys)?;
    // A token of another kind, like one to log somebody out, says so.
    if opened.typ.as_deref().is_some_and(|typ| !typ.eq_ignore_ascii_case("jwt")) {
        return no("its token is of another kind (typ)");
    }
    let claims: Claims = serde_json::from_slice(&opened.payload)
        .map_err(|error| NotOpened::Bad(format!("its token does not say what it must: {error}")))?;
    if claims.iss != expected.issuer {
        return no("its token is somebody else's (iss)");
    }
    let audiences = claims.aud.check(expected.client_id, expected.other_audiences).map_err(NotOpened::Bad)?;
    match &claims.azp {
        Some(party) if party != expected.client_id => {
            return no("its token was made for somebody else (azp)");
        }
        None if audiences > 1 => return no("its token does not say for whom of several it was made (azp)"),
        _ => {}
    }
    check_times(expected.now, Some(claims.exp), claims.iat, claims.nbf, OLD).or_else(no)?;
    if claims.nonce.as_deref() != Some(expected.nonce) {
        return no("its token answers another question (nonce)");
    }
    if claims.at_hash.as_ref().is_some_and(|hash| !opened.is_hash(hash, expected.access_token)) {
        return no("its tokens do not belong together (at_hash)");
    }
    if claims.c_hash.as_ref().is_some_and(|hash| !opened.is_hash(hash, expected.code)) {
        return no("its token does not belong to the code (c_hash)");
    }
    check_subject(&claims.sub).or_else(no)?;
    Ok(claims)
}

/// At most 255 characters, and something at all (OpenID Connect Core §2).
pub(super) fn check_subject(sub: &str) -> Result<(), &'static str> {
    if sub.is_empty() || sub.len() > 255 || sub.chars().any(char::is_control) {
        Err("its token names nobody (sub)")
    } else {
        Ok(())
    }
}
