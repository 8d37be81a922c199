//! Signed-in browsers.
//!
//! The cookie, its name and its change at sign-in are `tower-sessions`'; the
//! store is ours. The cookie holds 128 random bits; the table holds their hash
//! (a copy of it signs nobody in), the user (so that sessions can be listed and
//! ended), and two ends: one that every visit pushes on, and one that nothing
//! does. A row comes into being at sign-in and not before: visitors who are not
//! signed in, and robots, leave no trace here.

use std::net::IpAddr;

use async_trait::async_trait;
use chrono::TimeDelta;
use devenv_cloud_api::{
    Timestamp,
    accounts::{Assurance, AuthMethod, Session as Listed},
    audit::AuditAction,
    factors::Standing,
    ids::{OrgId, SessionId, UserId},
};
use serde::{Deserialize, Serialize};
use tower_sessions::{
    Expiry, Session,
    session::{Id, Record},
    session_store,
};

use super::{
    policy::{Held, Strength},
    principal::{Principal, SessionPrincipal, User},
    secret,
    store::{self, SessionRow},
};
use crate::{
    app::AppParts,
    audit::{self, Event},
    clock::Clock,
    config::Sessions,
    db::{Db, DbError},
    refusal::Refusal,
};

/// The key of [`Auth`] in the session's data.
const AUTH: &str = "auth";

/// The key of the new id in the data of a session whose row has it already.
const MOVED: &str = "moved";

/// How exactly `last_seen_at` is kept: a write a minute, not one a request.
const SEEN_EVERY: TimeDelta = TimeDelta::minutes(1);

/// What a session is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auth {
    /// The id that is no secret. Stays when the secret one changes.
    pub session: SessionId,
    /// Who signed in.
    pub user: UserId,
    /// The organisation through whose own sign-in they came, if any.
    pub org: Option<OrgId>,
    /// How they proved who they are.
    pub methods: Vec<AuthMethod>,
    /// How sure that makes us.
    pub assurance: Assurance,
    /// When they proved it last.
    pub authenticated_at: Timestamp,
    /// When the session began.
    pub created_at: Timestamp,
    /// When it ends, however busy it is.
    pub absolute_until: Timestamp,
    /// The address from which it began.
    pub ip: String,
    /// The browser, in its own words.
    pub user_agent: String,
    /// Whether it outlives the browser.
    pub keep: bool,
    /// The provider's own session by which they came, so that the provider can end it.
    pub provider: Option<ProviderSession>,
}

/// A session at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderSession {
    /// The provider, by its name in the configuration.
    pub provider: String,
    /// Whose, by the provider's own name for them.
    pub subject: String,
    /// The session, by the provider's own name for it, if it said one.
    pub session: Option<String>,
}

/// How a session begins.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// How they proved who they are.
    pub methods: Vec<AuthMethod>,
    /// Whether they want it to outlive the browser.
    pub keep: bool,
    /// The provider's own session by which they came.
    pub provider: Option<ProviderSession>,
}

impl Beginning {
    /// With these proofs, and nothing else.
    #[must_use]
    pub const fn with(methods: Vec<AuthMethod>) -> Self {
        Self { methods, keep: false, provider: None }
    }
}

/// Where a sign-in comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The address.
    pub address: IpAddr,
    /// The browser, in its own words.
    pub user_agent: String,
}

/// Keeps sessions in the database, for `tower-sessions`.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
    clock: Clock,
    idle: TimeDelta,
}

impl Store {
    /// A store over the application's database and clock.
    #[must_use]
    pub fn new(app: &AppParts) -> Self {
        Self { db: app.db.clone(), clock: app.clock.clone(), idle: idle(&app.config.sessions) }
    }

    async fn insert(&self, record: &Record) -> session_store::Result<()> {
        let Some(auth) = record.data.get(AUTH) else {
            return Err(session_store::Error::Encode("a session is stored only for somebody".to_owned()));
        };
        let auth: Auth =
            serde_json::from_value(auth.clone()).map_err(|e| session_store::Error::Encode(e.to_string()))?;
        let now = self.clock.now();
        store::insert_session(&self.db, key_hash(&record.id), &auth, now, now + self.idle)
            .await
            .map_err(backend)
    }
}

fn idle(config: &Sessions) -> TimeDelta {
    TimeDelta::hours(i64::from(config.idle_hours))
}

fn key_hash(id: &Id) -> Vec<u8> {
    secret::hash(&id.0.to_le_bytes())
}

#[expect(clippy::needless_pass_by_value, reason = "has the form that `map_err` wants")]
fn backend(error: DbError) -> session_store::Error {
    session_store::Error::Backend(error.to_string())
}

#[async_trait]
impl tower_sessions::SessionStore for Store {
    /// The database refuses an id that is there already; with 128 random bits
    /// that is a broken generator and not bad luck.
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        if let Some(moved) = record.data.remove(MOVED) {
            let id: Option<String> = serde_json::from_value(moved).ok();
            let id = id.and_then(|id| id.parse().ok());
            record.id = id.ok_or_else(|| session_store::Error::Encode("no id of a session".to_owned()))?;
            return Ok(());
        }
        self.insert(record).await
    }

    /// What a session is about never changes under the same id. Refusing to
    /// write here is also what keeps an ended session from coming back.
    async fn save(&self, _: &Record) -> session_store::Result<()> {
        Ok(())
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        let row = store::find_session(&self.db, key_hash(id), self.clock.now()).await.map_err(backend)?;
        let Some(row) = row else { return Ok(None) };
        let auth =
            serde_json::to_value(&row.auth).map_err(|e| session_store::Error::Decode(e.to_string()))?;
        let until = row.auth.absolute_until.timestamp();
        Ok(Some(Record {
            id: *id,
            data: [(AUTH.to_owned(), auth)].into(),
            expiry_date: time::OffsetDateTime::from_unix_timestamp(until)
                .map_err(|e| session_store::Error::Decode(e.to_string()))?,
        }))
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        store::delete_session_by_key(&self.db, key_hash(id)).await.map_err(backend)
    }
}

fn failed(error: tower_sessions::session::Error) -> Refusal {
    Refusal::Failed(anyhow::Error::new(error).context("the session cannot be stored"))
}

/// Signs somebody in: from here on the browser has a new session, and the one
/// that it came with, whoever gave it to it, is dead.
///
/// # Errors
/// When the database says no.
pub async fn begin_session(
    app: &AppParts,
    session: &Session,
    user: &User,
    beginning: Beginning,
    origin: &Origin,
) -> Result<SessionPrincipal, Refusal> {
    let now = app.clock.now();
    let Beginning { methods, keep, provider } = beginning;
    let keep = app.config.sessions.keep.kept(keep);
    let life = if keep {
        TimeDelta::days(i64::from(app.config.sessions.absolute_days))
    } else {
        TimeDelta::hours(i64::from(app.config.sessions.short_hours))
    };
    let auth = Auth {
        session: SessionId(app.random.id(now)),
        user: user.id,
        org: None,
        assurance: Strength::of(&methods).assurance(),
        methods,
        authenticated_at: now,
        created_at: now,
        absolute_until: now + life,
        ip: origin.address.to_string(),
        user_agent: origin.user_agent.chars().take(256).collect(),
        keep,
        provider,
    };
    session.cycle_id().await.map_err(failed)?;
    store_in(session, &auth).await?;
    // As every other request will see it.
    match session.id() {
        Some(id) => match authenticate_session(app, id).await? {
            Principal::Session(principal) => Ok(principal),
            _ => Err(Refusal::Unauthenticated),
        },
        None => Err(Refusal::Unauthenticated),
    }
}

async fn store_in(session: &Session, auth: &Auth) -> Result<(), Refusal> {
    if !auth.keep {
        session.set_expiry(Some(Expiry::OnSessionEnd));
    }
    session.insert(AUTH, auth).await.map_err(failed)?;
    // Stored here and not on the way out, so that an answer that says
    // "signed in" is never followed by a failure to be so.
    session.save().await.map_err(failed)
}

/// Notes that the person, who has `held`, has just proved who they are once
/// more, with `method`. The session gets a new secret; the old one is dead at once.
pub(super) async fn reauthenticated(
    app: &AppParts,
    session: &Session,
    held: Held,
    method: AuthMethod,
) -> Result<(), Refusal> {
    let auth: Option<Auth> = session.get(AUTH).await.map_err(failed)?;
    let (Some(old), Some(mut auth)) = (session.id(), auth) else { return Err(Refusal::Unauthenticated) };
    if !auth.methods.contains(&method) {
        auth.methods.push(method);
    }
    auth.assurance = Strength::of(&auth.methods).assurance();
    // A password alone does not make a stronger proof of an hour ago recent.
    if method != AuthMethod::Password || !held.any() {
        auth.authenticated_at = app.clock.now();
    }
    // In one statement: between deleting a row and writing another one, whoever
    // ends this session would find nothing to end, and it would come back.
    let new = Id(i128::from_le_bytes(app.random.bytes()));
    if !store::renew_session(&app.db, key_hash(&old), key_hash(&new), &auth).await? {
        return Err(Refusal::Unauthenticated);
    }
    session.insert(MOVED, new.to_string()).await.map_err(failed)?;
    session.cycle_id().await.map_err(failed)?;
    store_in(session, &auth).await
}

fn principal(row: SessionRow, now: Timestamp) -> SessionPrincipal {
    let SessionRow { user, auth, held, policy, .. } = row;
    let standing = policy.standing(held, Some(Strength::of(&auth.methods)), user.created_at, now);
    SessionPrincipal {
        due_at: (standing == Standing::Grace).then(|| policy.due_at(user.created_at)),
        held,
        standing,
        user,
        session: auth.session,
        methods: auth.methods,
        assurance: auth.assurance,
        authenticated_at: auth.authenticated_at,
        org: auth.org,
    }
}

/// Whose session this is; nobody's if it ended.
///
/// # Errors
/// When the database says no.
pub async fn authenticate_session(app: &AppParts, id: Id) -> Result<Principal, DbError> {
    let now = app.clock.now();
    let Some(row) = store::find_session(&app.db, key_hash(&id), now).await? else {
        return Ok(Principal::Anonymous);
    };
    // Who came through an organisation's own sign-in and is no member any more
    // has no business here with that session.
    if let Some(org) = row.auth.org
        && !store::is_member(&app.db, org, row.user.id).await?
    {
        return Ok(Principal::Anonymous);
    }
    if now - row.last_seen_at >= SEEN_EVERY {
        let idle_until = (now + idle(&app.config.sessions)).min(row.auth.absolute_until);
        store::touch_session(&app.db, row.auth.session, now, idle_until).await?;
    }
    Ok(Principal::Session(principal(row, now)))
}

/// Whether somebody who asked a while ago, and still listens, is who they were:
/// their session has not ended, their token still works.
///
/// # Errors
/// When the database says no.
pub async fn is_still_there(app: &AppParts, principal: &Principal) -> Result<bool, DbError> {
    let now = app.clock.now();
    match principal {
        Principal::Session(asker) => store::session_goes_on(&app.db, asker.session, now).await,
        Principal::Token(token) => store::token_works(&app.db, token.token, now).await,
        Principal::Runner(_) | Principal::Anonymous => Ok(true),
    }
}

/// Somebody's sessions, newest first.
///
/// # Errors
/// When the database says no.
pub async fn sessions(
    app: &AppParts,
    asker: &SessionPrincipal,
    before: Option<SessionId>,
    limit: u32,
) -> Result<Vec<Listed>, DbError> {
    let rows = store::list_sessions(&app.db, asker.user.id, app.clock.now(), before, limit).await?;
    Ok(rows
        .into_iter()
        .map(|(auth, last_seen_at)| Listed {
            id: auth.session,
            current: auth.session == asker.session,
            methods: auth.methods,
            assurance: auth.assurance,
            authenticated_at: auth.authenticated_at,
            provider: auth.provider.map(|provider| provider.provider),
            user_agent: auth.user_agent,
            ip: auth.ip,
            created_at: auth.created_at,
            last_seen_at,
            expires_at: auth.absolute_until,
        })
        .collect())
}

/// Ends one of somebody's sessions. Whether there was one.
///
/// # Errors
/// When the database says no.
pub async fn end_session(
    app: &AppParts,
    user: &User,
    id: SessionId,
    origin: &Origin,
) -> Result<bool, DbError> {
    let mut tx = app.db.begin().await?;
    if !store::delete_session(&mut tx, user.id, id).await? {
        return Ok(false);
    }
    audit::record(app, &mut tx, Event::new(AuditAction::EndSession, origin).by(user)).await?;
    tx.commit().await?;
    Ok(true)
}

/// Ends all of somebody's sessions but the one that asks.
///
/// # Errors
/// When the database says no.
pub async fn end_other_sessions(
    app: &AppParts,
    asker: &SessionPrincipal,
    origin: &Origin,
) -> Result<u64, DbError> {
    let mut tx = app.db.begin().await?;
    let ended = store::delete_other_sessions(&mut tx, asker.user.id, asker.session).await?;
    let event = Event::new(AuditAction::EndSession, origin).by(&asker.user);
    audit::record(app, &mut tx, event.target("all others")).await?;
    tx.commit().await?;
    Ok(ended)
}

/// Deletes sessions that ended. They are dead without it: this is housekeeping.
///
/// # Errors
/// When the database says no.
pub async fn delete_expired_sessions_once(app: &AppParts) -> Result<u64, DbError> {
    store::delete_expired_sessions(&app.db, app.clock.now()).await
}
