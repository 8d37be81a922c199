//! Logins of command lines: a program shows a code, a person confirms it in a
//! browser, and the program, which has been asking meanwhile, gets its token
//! (RFC 8628).
//!
//! Whoever gets somebody to confirm a code gets their token (RP-29). So the
//! person sees who asks from where, confirms every time, must have proved who
//! they are a short while ago, and a code in an address approves nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use devenv_cloud_api::{audit::AuditAction, issuer::DeviceLogin, permissions::Scope};

use super::{
    client::{Client, shown},
    error::OAuthError,
    keys,
    scopes::Scopes,
    store::{self, LoginRow},
    tokens::{self, Grant, Issued},
};
use crate::{
    app::AppParts,
    audit::{self, Event},
    identity::{Origin, SessionPrincipal, secret, step_up},
    refusal::Refusal,
};

/// The grant's name at the token endpoint.
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// How long a person has to decide.
const LIFE: TimeDelta = TimeDelta::minutes(10);
/// Seconds between two questions at first, and how many more each time that
/// somebody asks too soon.
const INTERVAL: u32 = 5;
/// Letters that look like no others and make no words (RFC 8628 §6.1): 20, so
/// that eight of them are 34 bits.
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LETTERS: usize = 8;

/// A login that was begun. The fields are the answer's (RFC 8628 §3.2).
#[derive(serde::Serialize)]
pub struct Begun {
    /// What the program asks with. Nobody sees it.
    pub device_code: String,
    /// What the person types, or compares.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same, with the code filled in.
    pub verification_uri_complete: String,
    /// In seconds.
    pub expires_in: i64,
    /// Seconds between two questions.
    pub interval: u32,
}

/// Begins one.
///
/// # Errors
/// When the client may not, or there were too many.
pub async fn begin(
    app: &AppParts,
    client: &Client,
    scope: &str,
    origin: &Origin,
) -> Result<Begun, OAuthError> {
    let scopes = may_ask(client, scope)?;
    app.issuer.take_asked(origin.address)?;
    let now = app.clock.now();
    let device_code = URL_SAFE_NO_PAD.encode(app.random.bytes::<32>());
    let user_code = new_user_code(app);
    let row = LoginRow {
        id: app.random.id(now),
        client_id: client.id.clone(),
        scope: scopes.to_string(),
        ip: origin.address.to_string(),
        user_agent: origin.user_agent.chars().filter(|c| !c.is_control()).take(200).collect(),
        created_at: now,
        expires_at: now + LIFE,
        polled_at: None,
        interval: INTERVAL,
        user: None,
        approved: None,
        methods: Vec::new(),
        authenticated_at: None,
    };
    store::insert_login(&app.db, &row, &hash(&device_code), &hash(&user_code)).await?;
    let verification_uri = app.url("/device");
    Ok(Begun {
        device_code,
        verification_uri_complete: format!("{verification_uri}?user_code={user_code}"),
        verification_uri,
        user_code,
        expires_in: LIFE.num_seconds(),
        interval: INTERVAL,
    })
}

/// What the client may have of what it asks for. Without a word, our own
/// command line reads and pushes.
fn may_ask(client: &Client, scope: &str) -> Result<Scopes, OAuthError> {
    if !client.is_public() {
        return Err(OAuthError::UnauthorizedClient("this client gets its tokens by redirects".to_owned()));
    }
    let mut scopes = Scopes::parse(scope);
    if !client.api {
        scopes.api.clear();
    }
    if client.is_first_party() && scopes.api.is_empty() {
        scopes.api = vec![Scope::Read, Scope::Write];
    }
    if scopes.is_empty() {
        return Err(OAuthError::InvalidScope("nothing that was asked for can be given".to_owned()));
    }
    Ok(scopes)
}

fn new_user_code(app: &AppParts) -> String {
    let mut code = String::new();
    while code.len() < LETTERS {
        // 240 is the largest multiple of 20 in a byte: beyond it, chance would be uneven.
        let bytes = app.random.bytes::<16>();
        let letters =
            bytes.into_iter().filter(|byte| *byte < 240).map(|byte| ALPHABET[usize::from(byte % 20)]);
        code.extend(letters.map(char::from).take(LETTERS - code.len()));
    }
    code.insert(LETTERS / 2, '-');
    code
}

/// The code as it was given out, however it was typed; nothing if it cannot be one.
fn normal(typed: &str) -> Option<String> {
    let mut letters: String = typed
        .chars()
        .filter(|c| !matches!(c, '-' | ' ' | '\u{2010}'..='\u{2015}'))
        .map(|c| c.to_ascii_uppercase())
        .take(LETTERS + 1)
        .collect();
    let fine = letters.len() == LETTERS && letters.bytes().all(|letter| ALPHABET.contains(&letter));
    fine.then(|| {
        letters.insert(LETTERS / 2, '-');
        letters
    })
}

fn hash(code: &str) -> Vec<u8> {
    secret::hash(code.as_bytes())
}

/// The program asks whether somebody has decided.
///
/// # Errors
/// As long as nobody has, and when they said no.
pub async fn redeem(
    app: &AppParts,
    client: &Client,
    device_code: &str,
    origin: &Origin,
) -> Result<Issued, OAuthError> {
    let unknown = || OAuthError::InvalidGrant("there is no such device code (any more)".to_owned());
    let signer = keys::signer(app).await?;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let login = store::find_login_by_device(&mut tx, &hash(device_code)).await?.ok_or_else(unknown)?;
    // Another client's code is no code.
    if login.client_id != client.id {
        return Err(unknown());
    }
    if login.expires_at <= now {
        return Err(OAuthError::ExpiredToken);
    }
    let wait = TimeDelta::seconds(i64::from(login.interval));
    let hasty = login.polled_at.is_some_and(|last| now - last < wait);
    let interval = if hasty { login.interval + INTERVAL } else { login.interval };
    let noted = store::note_poll(&mut tx, login.id, login.polled_at, now, interval).await?;
    if hasty || !noted {
        tx.commit().await?;
        return Err(OAuthError::SlowDown);
    }
    let (Some(approved), Some(user), Some(authenticated_at)) =
        (login.approved, login.user, login.authenticated_at)
    else {
        tx.commit().await?;
        return Err(OAuthError::AuthorizationPending);
    };
    if !approved {
        tx.commit().await?;
        return Err(OAuthError::AccessDenied);
    }
    if !store::take_login(&mut tx, login.id).await? {
        return Err(unknown());
    }
    let grant = Grant {
        user,
        client: login.client_id,
        scopes: Scopes::parse(&login.scope),
        nonce: None,
        methods: login.methods,
        authenticated_at,
    };
    let (issued, _) = tokens::issue(app, &mut tx, &signer, &grant, origin).await?;
    tx.commit().await?;
    Ok(issued)
}

/// The login that waits under this code, for the person who typed it.
///
/// # Errors
/// When there is none, or they tried too many.
pub async fn show(
    app: &AppParts,
    asker: &SessionPrincipal,
    typed: &str,
    origin: &Origin,
) -> Result<DeviceLogin, Refusal> {
    let (code, login) = find(app, asker, typed, origin).await?;
    Ok(DeviceLogin {
        user_code: code,
        client: shown(&login.client_id),
        scopes: Scopes::parse(&login.scope).api,
        ip: login.ip,
        user_agent: login.user_agent,
        created_at: login.created_at,
        expires_at: login.expires_at,
    })
}

async fn find(
    app: &AppParts,
    asker: &SessionPrincipal,
    typed: &str,
    origin: &Origin,
) -> Result<(String, LoginRow), Refusal> {
    app.issuer.take_guess(asker.user.id, origin.address)?;
    let code = normal(typed).ok_or(Refusal::NotFound)?;
    let found = store::find_login_by_code(&app.db, &hash(&code), app.clock.now()).await?;
    let login = found.ok_or(Refusal::NotFound)?;
    app.issuer.give_back_guess(asker.user.id, origin.address);
    Ok((code, login))
}

/// Allows or refuses it. Allowing takes a recent proof of who one is.
///
/// # Errors
/// When there is no such login, somebody has decided already, or they tried too many.
pub async fn decide(
    app: &AppParts,
    asker: &SessionPrincipal,
    typed: &str,
    allow: bool,
    origin: &Origin,
) -> Result<(), Refusal> {
    let (_, login) = find(app, asker, typed, origin).await?;
    if allow {
        super::require_standing(asker)?;
        if !step_up::is_fresh(asker, app.clock.now()) {
            return Err(Refusal::StepUp);
        }
    }
    let mut tx = app.db.begin().await?;
    let user = &asker.user;
    let decided = store::decide_login(
        &mut tx,
        login.id,
        user.id,
        allow,
        &asker.methods,
        asker.authenticated_at,
        app.clock.now(),
    );
    if !decided.await? {
        return Err(Refusal::NotFound);
    }
    let event = Event::new(AuditAction::DecideDevice, origin).by(user);
    let event = event.target(&format!("{} from {}: {}", login.client_id, login.ip, login.scope));
    audit::record(app, &mut tx, if allow { event } else { event.refused() }).await?;
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_understood_however_they_are_typed() {
        for typed in ["BCDF-GHJK", "bcdfghjk", "bcdf ghjk", " BCDF–GHJK "] {
            assert_eq!(normal(typed).as_deref(), Some("BCDF-GHJK"), "{typed}");
        }
        for wrong in ["", "BCDF-GHJ", "BCDF-GHJKL", "ABCD-EFGH", "BCDF-GHJ1", "ÄCDF-GHJK"] {
            assert_eq!(normal(wrong), None, "{wrong}");
        }
    }
}
