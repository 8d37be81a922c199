//! What a program gets in the end, how it gives it back, and what it learns with it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use devenv_cloud_api::{
    Timestamp,
    accounts::{AuthMethod, CreateToken},
    audit::AuditAction,
    ids::{TokenId, UserId},
    issuer::Claim,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    client::Client,
    error::OAuthError,
    jwt::{self, Expected, Rejected, Signer},
    keys,
    scopes::Scopes,
    store,
};
use crate::{
    app::AppParts,
    audit::{self, Event},
    db::Tx,
    identity::{self, Origin, Principal, User, secret},
    once::{self, Once},
    refusal::Refusal,
};

/// How long an `id_token` counts.
pub const ID_TOKEN_LIFE: TimeDelta = TimeDelta::minutes(10);
/// How long a token for the API works, in days.
const API_TOKEN_DAYS: u32 = 90;
/// What tokens begin with that open the userinfo endpoint and nothing else.
pub const ACCESS_PREFIX: &str = "dvo_";
/// The `typ` of an `id_token`.
const ID_TOKEN: &str = "JWT";

/// What somebody allowed a program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Grant {
    pub(super) user: UserId,
    pub(super) client: String,
    pub(super) scopes: Scopes,
    pub(super) nonce: Option<String>,
    /// How they had signed in, and when.
    pub(super) methods: Vec<AuthMethod>,
    pub(super) authenticated_at: Timestamp,
}

/// What the program gets.
#[derive(Serialize)]
pub struct Issued {
    /// For the API, or for the userinfo endpoint.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: i64,
    /// What it was given for.
    pub scope: String,
    /// Who the person is, if it asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
}

/// What was given, to be taken back.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Given {
    /// A token for the API.
    Api(TokenId),
    /// A token for the userinfo endpoint: itself.
    Userinfo(String),
}

/// A token for the userinfo endpoint, as it is remembered.
#[derive(Serialize, Deserialize)]
struct Access {
    user: UserId,
    client: String,
    scopes: Scopes,
}

impl Once for Access {
    const KIND: &'static str = "issuer.access";
    const LIFE: TimeDelta = ID_TOKEN_LIFE;
}

/// Claims of an `id_token` (OIDC core §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdTokenClaims {
    /// This server.
    pub iss: String,
    /// The person.
    pub sub: UserId,
    /// The program.
    pub aud: String,
    /// When it ends.
    pub exp: i64,
    /// When it was signed.
    pub iat: i64,
    /// When the person proved who they are.
    pub auth_time: i64,
    /// How (RFC 8176).
    pub amr: Vec<AuthMethod>,
    /// What the program sent along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Ties it to the access token.
    pub at_hash: String,
    /// About the person.
    #[serde(flatten)]
    pub about: About,
}

/// What a program gets to know about somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Their name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Their address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether it was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
}

impl About {
    fn new(user: &User, verified: bool, scopes: &Scopes) -> Self {
        let email = scopes.has(Claim::Email);
        Self {
            name: scopes.has(Claim::Profile).then(|| user.name.clone()),
            email: email.then(|| user.email.clone()),
            email_verified: email.then_some(verified),
        }
    }
}

/// The answer of the userinfo endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Userinfo {
    /// The person.
    pub sub: UserId,
    /// About them.
    #[serde(flatten)]
    pub about: About,
}

/// Gives a program what somebody allowed it.
pub(super) async fn issue(
    app: &AppParts,
    tx: &mut Tx,
    signer: &Signer,
    grant: &Grant,
    origin: &Origin,
) -> Result<(Issued, Given), OAuthError> {
    let Some(user) = identity::find_user(&mut *tx, grant.user).await? else {
        return Err(OAuthError::AccessDenied);
    };
    let now = app.clock.now();
    let (access_token, expires_in, given) = if grant.scopes.api.is_empty() {
        let token = secret::new_secret(ACCESS_PREFIX, &app.random);
        let access = Access { user: user.id, client: grant.client.clone(), scopes: grant.scopes.clone() };
        once::put_as(app, &mut *tx, &token, Some(user.id), &access).await?;
        (token.clone(), Access::LIFE, Given::Userinfo(token))
    } else {
        let wanted = CreateToken {
            name: format!("{} from {}", grant.client, origin.address),
            scopes: grant.scopes.api.clone(),
            expires_in_days: API_TOKEN_DAYS,
        };
        let token = identity::create_token_in(app, &mut *tx, &user, None, wanted).await?;
        store::mark_token(tx, token.token.id, &grant.client).await?;
        let event = Event::new(AuditAction::CreateToken, origin).by(&user);
        audit::record(app, &mut *tx, event.target(&format!("{}: {}", grant.client, grant.scopes))).await?;
        (token.secret, token.token.expires_at - now, Given::Api(token.token.id))
    };
    let id_token = if grant.scopes.has(Claim::OpenId) {
        let verified = store::email_verified(&mut *tx, user.id).await?;
        let claims = IdTokenClaims {
            iss: app.config.server.base_url.clone(),
            sub: user.id,
            aud: grant.client.clone(),
            exp: (now + ID_TOKEN_LIFE).timestamp(),
            iat: now.timestamp(),
            auth_time: grant.authenticated_at.timestamp(),
            amr: grant.methods.clone(),
            nonce: grant.nonce.clone(),
            at_hash: URL_SAFE_NO_PAD.encode(&Sha256::digest(&access_token)[..16]),
            about: About::new(&user, verified, &grant.scopes),
        };
        Some(signer.sign(ID_TOKEN, &claims).map_err(Refusal::Failed)?)
    } else {
        None
    };
    let issued = Issued {
        access_token,
        token_type: "Bearer",
        expires_in: expires_in.num_seconds(),
        scope: grant.scopes.to_string(),
        id_token,
    };
    Ok((issued, given))
}

/// Takes back what was given for a code that came twice.
pub(super) async fn take_back(app: &AppParts, tx: &mut Tx, given: Given) -> Result<(), Refusal> {
    match given {
        Given::Api(token) => {
            store::revoke_token(tx, token, app.clock.now()).await?;
        }
        Given::Userinfo(token) => {
            once::take::<Access>(app, tx, &token).await?;
        }
    }
    Ok(())
}

/// A program gives its token back (RFC 7009). What is no token (any more) is
/// fine: it does not work, which was the wish.
///
/// # Errors
/// When the token is another program's.
pub async fn revoke(app: &AppParts, client: &Client, token: &str, origin: &Origin) -> Result<(), OAuthError> {
    let other = || OAuthError::UnauthorizedClient("this token was not given to this client".to_owned());
    let mut tx = app.db.begin().await?;
    if token.starts_with(ACCESS_PREFIX) {
        if let Some(access) = once::look::<Access>(app, &mut tx, token).await? {
            if access.client != client.id {
                return Err(other());
            }
            once::take::<Access>(app, &mut tx, token).await?;
        }
    } else if let Some((id, owner, of)) = store::find_token(&mut tx, secret::hash(token.as_bytes())).await? {
        if of.as_deref() != Some(client.id.as_str()) {
            return Err(other());
        }
        store::revoke_token(&mut tx, id, app.clock.now()).await?;
        if let Some(user) = identity::find_user(&mut tx, owner).await? {
            let event = Event::new(AuditAction::RevokeToken, origin).by(&user).target(&client.id);
            audit::record(app, &mut tx, event).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// Who the person is, for the program that shows a token; nobody if the token
/// does not work.
///
/// # Errors
/// When the database says no.
pub async fn userinfo(app: &AppParts, token: &str) -> Result<Option<Userinfo>, Refusal> {
    let (user, scopes) = if token.starts_with(ACCESS_PREFIX) {
        let Some(access) = once::look::<Access>(app, &app.db, token).await? else { return Ok(None) };
        (identity::find_user(&app.db, access.user).await?, access.scopes)
    } else {
        // It can read the account anyway.
        let found = identity::authenticate_token(app, token).await?;
        (found.as_ref().and_then(Principal::user).cloned(), Scopes::parse("openid profile email"))
    };
    let Some(user) = user else { return Ok(None) };
    let verified = store::email_verified(&app.db, user.id).await?;
    Ok(Some(Userinfo { sub: user.id, about: About::new(&user, verified, &scopes) }))
}

/// The claims of an `id_token` that this client got. One whose time is over
/// still says whom it was about, and is good for that alone.
///
/// # Errors
/// When it is none of ours.
pub async fn verify_id_token(
    app: &AppParts,
    token: &str,
    client: &str,
    even_expired: bool,
) -> Result<Result<IdTokenClaims, Rejected>, Refusal> {
    let keys = keys::key_set(app).await?.keys;
    let issuer = &app.config.server.base_url;
    let expected = Expected { typ: ID_TOKEN, issuer, audience: client, even_expired };
    Ok(jwt::verify(&keys, token, expected, app.clock.now()))
}
