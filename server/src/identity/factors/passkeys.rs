//! Passkeys (WebAuthn): discoverable, with user verification, so that one alone
//! is two factors.
//!
//! The library checks signatures, origins, flags and counters; here it is
//! decided what a ceremony is for, that it works once, and whose a key is.

use chrono::TimeDelta;
use devenv_cloud_api::{
    accounts::AuthMethod,
    audit::AuditAction,
    factors::{AddPasskey, Assertion, Ceremony, Passkey as Listed},
    ids::{PasskeyId, SessionId, UserId},
};
use serde::{Deserialize, Serialize};
use tower_sessions::Session;
use webauthn_rs::prelude::{
    AuthenticationResult, Credential, DiscoverableAuthentication, DiscoverableKey, PasskeyAuthentication,
    PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, Url, Uuid, Webauthn,
    WebauthnBuilder, WebauthnError,
};

use super::store::{self, PasskeyRow};
use crate::{
    app::AppParts,
    audit::{self, Event},
    db::DbError,
    identity::{
        account::check_name,
        principal::{SessionPrincipal, User},
        session::{self, Origin},
        store as accounts,
    },
    mail::notices,
    once::{self, Once},
    refusal::Refusal,
};

/// How many one person can have.
const MOST: usize = 20;

/// How long an authenticator may name a key, in bytes (`WebAuthn` L3 §5.8.3).
const LONGEST_ID: usize = 1023;

/// Who we are to authenticators, if we can be somebody to them: they know
/// servers by name, and only over https or on this machine.
#[must_use]
pub fn relying_party(base_url: &str) -> Option<Webauthn> {
    let url = Url::parse(base_url).ok()?;
    let host = url.domain()?.to_owned();
    let local = host == "localhost" || host.ends_with(".localhost");
    if url.scheme() != "https" && !local {
        return None;
    }
    let name = if local { "devenv cloud".to_owned() } else { format!("devenv cloud ({host})") };
    WebauthnBuilder::new(&host, &url).ok()?.rp_name(&name).build().ok()
}

fn party(app: &AppParts) -> Result<&Webauthn, Refusal> {
    app.identity.passkeys.as_ref().ok_or_else(|| {
        Refusal::Conflict(
            "passkeys need an https address with a host name (`server.base_url`); ask an administrator"
                .to_owned(),
        )
    })
}

/// A passkey that is being added, in this session.
#[derive(Serialize, Deserialize)]
struct Adding {
    user: UserId,
    session: SessionId,
    state: PasskeyRegistration,
}

/// A sign-in with whichever passkey.
#[derive(Serialize, Deserialize)]
struct Discovering {
    state: DiscoverableAuthentication,
}

/// A proof with a passkey of one person: a second factor, or, in a session, a step-up.
#[derive(Serialize, Deserialize)]
struct Proving {
    user: UserId,
    session: Option<SessionId>,
    state: PasskeyAuthentication,
}

impl Once for Adding {
    const KIND: &'static str = "passkey-adding";
    const LIFE: TimeDelta = TimeDelta::minutes(5);
}

impl Once for Discovering {
    const KIND: &'static str = "passkey-discovering";
    const LIFE: TimeDelta = TimeDelta::minutes(5);
}

impl Once for Proving {
    const KIND: &'static str = "passkey-proving";
    const LIFE: TimeDelta = TimeDelta::minutes(5);
}

fn options(value: &impl Serialize) -> Result<serde_json::Value, Refusal> {
    serde_json::to_value(value).map_err(|e| Refusal::Failed(e.into()))
}

fn broken(error: WebauthnError) -> Refusal {
    Refusal::Failed(anyhow::Error::new(error).context("a ceremony with a passkey cannot begin"))
}

/// The same words for every proof that is not right: what exactly was wrong
/// with it is the log's affair.
fn unproven() -> Refusal {
    Refusal::Unproven("this passkey was not accepted; try again, or use another way to sign in".to_owned())
}

fn too_many() -> Refusal {
    Refusal::Conflict(format!("you have {MOST} passkeys; remove one that you do not use"))
}

fn used_up() -> Refusal {
    Refusal::Unproven("this took too long, or was answered already; try again".to_owned())
}

fn refused(error: &WebauthnError) -> Refusal {
    tracing::info!(%error, "a proof with a passkey was refused");
    unproven()
}

/// Refuses what another page in a frame made the browser sign (WA-03).
fn check_frame(client_data: &[u8]) -> Result<(), Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Framed {
        #[serde(default)]
        cross_origin: bool,
        top_origin: Option<String>,
    }
    let framed: Framed = serde_json::from_slice(client_data).map_err(|_| unproven())?;
    if framed.cross_origin || framed.top_origin.is_some() {
        tracing::info!("a proof with a passkey came from a frame in another site's page");
        return Err(unproven());
    }
    Ok(())
}

/// Begins to add a passkey.
///
/// # Errors
/// When there are too many, or there can be none here.
pub async fn begin_adding(app: &AppParts, asker: &SessionPrincipal) -> Result<Ceremony, Refusal> {
    let party = party(app)?;
    let user = &asker.user;
    let mut tx = app.db.begin().await?;
    let known = store::passkeys_of(&mut tx, user.id).await?;
    if known.len() >= MOST {
        return Err(too_many());
    }
    let handle = store::handle(&mut tx, user.id, app.random.bytes()).await?;
    let handle = Uuid::from_slice(&handle).map_err(|e| Refusal::Failed(e.into()))?;
    let known = known.iter().map(|row| row.passkey.cred_id().clone()).collect();
    let (challenge, state) =
        party.start_passkey_registration(handle, &user.email, &user.name, Some(known)).map_err(broken)?;
    let mut options = options(&challenge)?;
    // Autofill finds only keys that the authenticator can find by itself.
    if let Some(selection) = options.pointer_mut("/publicKey/authenticatorSelection") {
        selection["residentKey"] = "required".into();
        selection["requireResidentKey"] = true.into();
    }
    let adding = Adding { user: user.id, session: asker.session, state };
    let ceremony = once::put(app, &mut tx, Some(user.id), &adding).await?;
    tx.commit().await?;
    Ok(Ceremony { ceremony, options })
}

/// Adds a passkey. It proves who is there, too.
///
/// # Errors
/// When the answer is not right, or the key is somebody's already.
pub async fn add(
    app: &AppParts,
    browser: &Session,
    asker: &SessionPrincipal,
    given: AddPasskey,
    origin: &Origin,
) -> Result<Listed, Refusal> {
    let AddPasskey { ceremony, name, credential } = given;
    let name = checked_name(&name)?;
    let adding: Adding = once::take(app, &app.db, &ceremony).await?.ok_or_else(used_up)?;
    if adding.user != asker.user.id || adding.session != asker.session {
        return Err(used_up());
    }
    let credential: RegisterPublicKeyCredential = read(credential)?;
    check_frame(credential.response.client_data_json.as_ref())?;
    let passkey = party(app)?
        .finish_passkey_registration(&credential, &adding.state)
        .map_err(|error| refused(&error))?;
    if passkey.cred_id().len() > LONGEST_ID {
        return Err(unproven());
    }
    let now = app.clock.now();
    let id = PasskeyId(app.random.id(now));
    let mut tx = app.db.begin().await?;
    // Several can have begun while there was room for one.
    accounts::lock_user(&mut tx, asker.user.id).await?;
    if store::passkeys_of(&mut tx, asker.user.id).await?.len() >= MOST {
        return Err(too_many());
    }
    match store::insert_passkey(&mut tx, id, asker.user.id, &name, &passkey, now).await {
        Err(DbError::Taken(_)) => {
            return Err(Refusal::Conflict("this passkey is in use already".to_owned()));
        }
        other => other?,
    }
    audit::record(app, &mut tx, Event::new(AuditAction::AddPasskey, origin).by(&asker.user).target(&name))
        .await?;
    notices::passkey_added(app, &mut tx, &asker.user, &name, origin).await?;
    tx.commit().await?;
    session::reauthenticated(app, browser, asker.held, AuthMethod::Passkey).await?;
    let listed = store::list_passkeys(&app.db, asker.user.id).await?;
    listed.into_iter().find(|passkey| passkey.id == id).ok_or(Refusal::NotFound)
}

fn checked_name(name: &str) -> Result<String, Refusal> {
    let name = name.trim();
    check_name(name).map_err(|why| Refusal::field("name", why))?;
    Ok(name.to_owned())
}

fn read<T: serde::de::DeserializeOwned>(mut credential: serde_json::Value) -> Result<T, Refusal> {
    // An authenticator need not name a person who is known already.
    if let Some(response) = credential.get_mut("response").and_then(|response| response.as_object_mut()) {
        response.entry("userHandle").or_insert(serde_json::Value::Null);
    }
    serde_json::from_value(credential)
        .map_err(|_| Refusal::field("credential", "this is no answer of an authenticator"))
}

/// Gives a passkey another name.
///
/// # Errors
/// When there is none, or it cannot be called so.
pub async fn rename(
    app: &AppParts,
    asker: &SessionPrincipal,
    id: PasskeyId,
    name: &str,
    origin: &Origin,
) -> Result<(), Refusal> {
    let name = checked_name(name)?;
    let mut tx = app.db.begin().await?;
    if !store::rename_passkey(&mut tx, asker.user.id, id, &name).await? {
        return Err(Refusal::NotFound);
    }
    let event = Event::new(AuditAction::RenamePasskey, origin).by(&asker.user).target(&name);
    audit::record(app, &mut tx, event).await?;
    tx.commit().await?;
    Ok(())
}

/// Removes a passkey.
///
/// # Errors
/// When there is none, or too little would be left.
pub async fn remove(
    app: &AppParts,
    asker: &SessionPrincipal,
    id: PasskeyId,
    origin: &Origin,
) -> Result<(), Refusal> {
    let mut tx = app.db.begin().await?;
    let name = store::delete_passkey(&mut tx, asker.user.id, id).await?.ok_or(Refusal::NotFound)?;
    super::require_enough_left(&mut tx, asker.user.id).await?;
    super::forget_useless_recovery_codes(&mut tx, asker.user.id).await?;
    let event = Event::new(AuditAction::RemovePasskey, origin).by(&asker.user).target(&name);
    audit::record(app, &mut tx, event).await?;
    notices::passkey_removed(app, &mut tx, &asker.user, &name, origin).await?;
    tx.commit().await?;
    Ok(())
}

/// Begins a sign-in with whichever passkey the person has.
///
/// # Errors
/// When there can be none here.
pub async fn begin(app: &AppParts) -> Result<Ceremony, Refusal> {
    let (challenge, state) = party(app)?.start_discoverable_authentication().map_err(broken)?;
    let mut options = options(&challenge)?;
    // Whether it offers itself in a field or is asked for, the page decides.
    if let Some(options) = options.as_object_mut() {
        options.remove("mediation");
    }
    let ceremony = once::put(app, &app.db, None, &Discovering { state }).await?;
    Ok(Ceremony { ceremony, options })
}

/// Whose passkey it was.
///
/// # Errors
/// When it is nobody's, or the proof is not right.
pub async fn finish(app: &AppParts, given: Assertion, origin: &Origin) -> Result<User, Refusal> {
    let begun: Discovering = once::take(app, &app.db, &given.ceremony).await?.ok_or_else(used_up)?;
    let credential: PublicKeyCredential = read(given.credential)?;
    check_frame(credential.response.client_data_json.as_ref())?;
    let party = party(app)?;
    let (handle, id) =
        party.identify_discoverable_authentication(&credential).map_err(|error| refused(&error))?;
    let row = store::find_passkey(&app.db, id).await?;
    // Whose key it is, and who the authenticator says it is, must be the same (WA-07).
    let owner = store::user_of_handle(&app.db, handle.as_bytes()).await?;
    let row = row.filter(|row| Some(row.user) == owner);
    let Some(row) = row else {
        note_refused(app, None, origin).await?;
        return Err(unproven());
    };
    let user = accounts::find_user(&app.db, row.user).await?.ok_or_else(unproven)?;
    let key = DiscoverableKey::from(&row.passkey);
    let result = party.finish_discoverable_authentication_v2(&credential, begun.state, key);
    check(app, &user, &row, result, origin).await?;
    Ok(user)
}

/// Begins a proof with a passkey of this person; in a session, for that session alone.
///
/// # Errors
/// When they have none.
pub async fn begin_of(app: &AppParts, user: UserId, session: Option<SessionId>) -> Result<Ceremony, Refusal> {
    let rows = store::passkeys_of(&app.db, user).await?;
    if rows.is_empty() {
        return Err(Refusal::Conflict("you have no passkey; use another way".to_owned()));
    }
    let keys: Vec<_> = rows.into_iter().map(|row| row.passkey).collect();
    let (challenge, state) = party(app)?.start_passkey_authentication(&keys).map_err(broken)?;
    let options = options(&challenge)?;
    let ceremony = once::put(app, &app.db, Some(user), &Proving { user, session, state }).await?;
    Ok(Ceremony { ceremony, options })
}

/// Whether it was a passkey of this person.
///
/// # Errors
/// When it was not, or the proof is not right.
pub async fn finish_of(
    app: &AppParts,
    user: UserId,
    session: Option<SessionId>,
    given: Assertion,
    origin: &Origin,
) -> Result<User, Refusal> {
    let begun: Proving = once::take(app, &app.db, &given.ceremony).await?.ok_or_else(used_up)?;
    if begun.user != user || begun.session != session {
        return Err(used_up());
    }
    let credential: PublicKeyCredential = read(given.credential)?;
    check_frame(credential.response.client_data_json.as_ref())?;
    let user = accounts::find_user(&app.db, user).await?.ok_or_else(unproven)?;
    let row = store::find_passkey(&app.db, credential.get_credential_id()).await?;
    let mut row = row.filter(|row| row.user == user.id);
    // An authenticator need not say whose key it is; if it does, it must be theirs (WA-07).
    if let Some(handle) = credential.get_user_unique_id().filter(|handle| !handle.is_empty())
        && store::user_of_handle(&app.db, handle).await? != Some(user.id)
    {
        row = None;
    }
    let Some(row) = row else {
        note_refused(app, Some(&user), origin).await?;
        return Err(unproven());
    };
    let result = party(app)?.finish_passkey_authentication(&credential, &begun.state);
    check(app, &user, &row, result, origin).await?;
    Ok(user)
}

/// Somebody showed a passkey that proves nothing.
async fn note_refused(app: &AppParts, about: Option<&User>, origin: &Origin) -> Result<(), Refusal> {
    let mut event = Event::new(AuditAction::SignIn, origin).with(AuthMethod::Passkey).refused();
    if let Some(user) = about {
        event = event.about(user);
    }
    audit::record(app, &app.db, event).await?;
    Ok(())
}

/// What the library compares with the key as it was when the ceremony began,
/// compared with the key as it is now. The library allows a key to become one
/// that can be copied; nobody has to put up with that (WA-09).
fn agrees(row: &PasskeyRow, result: &AuthenticationResult) -> Result<(), WebauthnError> {
    let known: Credential = row.passkey.clone().into();
    if (result.counter() > 0 || known.counter > 0) && result.counter() <= known.counter {
        return Err(WebauthnError::CredentialPossibleCompromise);
    }
    if result.backup_eligible() != known.backup_eligible {
        return Err(WebauthnError::CredentialBackupEligibilityInconsistent);
    }
    Ok(())
}

/// Takes the library's word, and notes what it says about the key.
async fn check(
    app: &AppParts,
    user: &User,
    row: &PasskeyRow,
    result: Result<AuthenticationResult, WebauthnError>,
    origin: &Origin,
) -> Result<(), Refusal> {
    let result = result.and_then(|result| agrees(row, &result).map(|()| result));
    let result = match result {
        // A counter that went back: perhaps somebody has a copy of the key (WA-06).
        Err(WebauthnError::CredentialPossibleCompromise) => {
            let event = Event::new(AuditAction::SuspectPasskey, origin).about(user).with(AuthMethod::Passkey);
            let mut tx = app.db.begin().await?;
            audit::record(app, &mut tx, event.target(&row.name).refused()).await?;
            notices::passkey_suspected(app, &mut tx, user, &row.name, origin).await?;
            tx.commit().await?;
            return Err(Refusal::Unproven(
                "this passkey was refused, because it looks as if somebody had a copy of it. Sign in another way, \
                 remove it under Account, Security, and add a new one"
                    .to_owned(),
            ));
        }
        Err(error) => {
            note_refused(app, Some(user), origin).await?;
            return Err(refused(&error));
        }
        Ok(result) => result,
    };
    // Two factors in one, or it is none (WA-05).
    if !result.user_verified() {
        return Err(unproven());
    }
    let mut passkey = row.passkey.clone();
    passkey.update_credential(&result);
    if store::use_passkey(&app.db, row, &passkey, app.clock.now()).await? { Ok(()) } else { Err(used_up()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authenticators_know_servers_by_name_and_over_https() {
        for (address, known) in [
            ("https://ci.example.com", true),
            ("https://ci.example.com:8443", true),
            ("http://localhost:8080", true),
            ("http://ci.localhost:8080", true),
            ("http://ci.example.com", false),
            ("https://192.0.2.1", false),
            ("http://127.0.0.1:8080", false),
            ("nonsense", false),
        ] {
            assert_eq!(relying_party(address).is_some(), known, "{address}");
        }
    }

    #[test]
    fn wa_03_what_another_sites_frame_made_is_refused() {
        assert!(check_frame(br#"{"type":"webauthn.get"}"#).is_ok());
        assert!(check_frame(br#"{"crossOrigin":false}"#).is_ok());
        assert!(check_frame(br#"{"crossOrigin":true}"#).is_err());
        assert!(check_frame(br#"{"crossOrigin":false,"topOrigin":"https://evil.example"}"#).is_err());
        assert!(check_frame(b"nonsense").is_err());
    }
}
