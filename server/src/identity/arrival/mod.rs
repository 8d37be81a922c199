//! The way in. Whichever way somebody proves who they are, it ends in an
//! [`Identity`], and every identity goes through [`arrive`]: there it is
//! decided to whom it leads, whether a second proof is needed, and when a
//! session begins.
//!
//! Until then the browser holds the key of a [`Pending`] row in a cookie of its
//! own, good for ten minutes. With every proof the key changes. Nothing of the
//! account is told before the first proof is right: who only knows an address
//! sees the same whether somebody has it or not.

mod decide;
mod elsewhere;
mod steps;

use chrono::TimeDelta;
use devenv_cloud_api::{
    accounts::AuthMethod,
    audit::AuditAction,
    ids::UserId,
    sign_in::{SignInState, SignInStep},
};
use serde::{Deserialize, Serialize};
use tower_sessions::Session;

pub use decide::{Decision, Intent, decide};
pub use elsewhere::External;
pub use steps::{
    code, identify, passkey, passkey_begin, password, recovery_code, set_out, sign_in, start_over,
};

use super::{
    factors,
    policy::{Held, Strength},
    principal::{SessionPrincipal, User},
    session::{self, Beginning, Origin, ProviderSession},
    store,
};
use crate::{
    app::AppParts,
    audit::{self, Event},
    db::{DbError, Tx},
    once::{self, Once},
    refusal::Refusal,
};

/// Somebody who has proved who they are, by one way.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Who.
    pub who: Who,
    /// By which proof.
    pub method: AuthMethod,
}

/// Who somebody has proved to be.
#[derive(Clone, Debug)]
pub enum Who {
    /// A person with an account here.
    Local(User),
    /// Somebody with an account elsewhere. Who that is here is still to be decided.
    Elsewhere(External, Intent),
}

/// A sign-in that is under way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pending {
    email: Option<String>,
    return_to: Option<String>,
    keep: bool,
    /// Who it is, once the first proof was right.
    user: Option<UserId>,
    methods: Vec<AuthMethod>,
    provider: Option<ProviderSession>,
    /// To be linked once they are signed in.
    link: Option<External>,
}

impl Once for Pending {
    const KIND: &'static str = "sign-in";
    const LIFE: TimeDelta = TimeDelta::minutes(10);
}

/// How far an arrival has come.
#[derive(Debug)]
pub enum Arrival {
    /// The browser has a session.
    SignedIn {
        /// Whose.
        principal: Box<SessionPrincipal>,
        /// Where they wanted to go; a path of this application.
        return_to: Option<String>,
    },
    /// It goes on. The browser keeps this key, in place of the one before.
    More {
        /// The key.
        key: String,
    },
    /// The account elsewhere is linked with the person who is signed in.
    Linked,
}

/// How far the sign-in with this key has come.
///
/// # Errors
/// When the database says no.
pub async fn state(app: &AppParts, key: Option<&str>) -> Result<SignInState, Refusal> {
    let pending = find(app, key).await?;
    let mut state = SignInState {
        step: SignInStep::Identify,
        email: None,
        methods: Vec::new(),
        providers: app.sso.list(),
        links: None,
        may_keep: app.config.sessions.keep == crate::config::Keep::Choice,
        return_to: None,
    };
    let passkeys = app.identity.passkeys.is_some();
    let Some(pending) = pending else {
        state.methods = if passkeys { vec![AuthMethod::Passkey] } else { Vec::new() };
        return Ok(state);
    };
    state.links = pending.link.as_ref().map(External::shown);
    state.return_to.clone_from(&pending.return_to);
    if let Some(user) = pending.user {
        state.step = SignInStep::SecondFactor;
        state.methods = factors::second_factors(app, user).await?;
    } else {
        state.step = SignInStep::Prove;
        // The same for everybody: what an account has is told to its owner alone.
        state.methods = if passkeys {
            vec![AuthMethod::Passkey, AuthMethod::Password]
        } else {
            vec![AuthMethod::Password]
        };
    }
    state.email = pending.email;
    Ok(state)
}

async fn find(app: &AppParts, key: Option<&str>) -> Result<Option<Pending>, Refusal> {
    match key {
        Some(key) => once::look(app, &app.db, key).await,
        None => Ok(None),
    }
}

/// Somebody has proved who they are. `key` is of the sign-in that it belongs
/// to, if the browser has one.
///
/// # Errors
/// When it leads to nobody, or the database says no.
pub async fn arrive(
    app: &AppParts,
    browser: &Session,
    key: Option<&str>,
    identity: Identity,
    origin: &Origin,
) -> Result<Arrival, Refusal> {
    // A key of which nothing is left has nothing to give up.
    let under_way = key.zip(find(app, key).await?);
    go_on(app, browser, under_way, identity, origin).await
}

/// The same, with the sign-in as it was when the proof began to be looked at:
/// if it is not there any more in the end, the proof has come too late.
async fn go_on(
    app: &AppParts,
    browser: &Session,
    under_way: Option<(&str, Pending)>,
    identity: Identity,
    origin: &Origin,
) -> Result<Arrival, Refusal> {
    let Identity { who, method } = identity;
    let (key, pending) = under_way.unzip();
    let mut pending = pending.unwrap_or_default();
    let user = match who {
        Who::Local(user) => user,
        Who::Elsewhere(external, intent) => {
            match elsewhere::resolve(app, external, intent, &mut pending, origin).await? {
                elsewhere::Resolved::User(user) => user,
                elsewhere::Resolved::SignInFirst => {
                    return advance(app, key, pending, None).await;
                }
                elsewhere::Resolved::Linked => return Ok(Arrival::Linked),
            }
        }
    };
    // A second proof of somebody else proves nothing about the first one.
    if pending.user.is_some_and(|first| first != user.id) {
        return Err(Refusal::Unproven(
            "this belongs to another account than the one that you are signing in to; begin anew".to_owned(),
        ));
    }
    pending.user = Some(user.id);
    if !pending.methods.contains(&method) {
        pending.methods.push(method);
    }
    let held = store::held(&app.db, user.id).await?;
    if needs_second_factor(held, &pending.methods) {
        return advance(app, key, pending, Some(user.id)).await;
    }
    finish(app, browser, key, pending, user, origin).await
}

/// Whoever has a second factor is asked for it, whatever any policy says.
fn needs_second_factor(held: Held, methods: &[AuthMethod]) -> bool {
    held.any() && Strength::of(methods) < Strength::Two
}

/// Goes on under a new key; the one before is dead.
async fn advance(
    app: &AppParts,
    key: Option<&str>,
    pending: Pending,
    user: Option<UserId>,
) -> Result<Arrival, Refusal> {
    let mut tx = app.db.begin().await?;
    give_up(app, &mut tx, key).await?;
    let key = once::put(app, &mut tx, user, &pending).await?;
    tx.commit().await?;
    Ok(Arrival::More { key })
}

/// The key that this step was made with works no more. If it was ended or used
/// while the proof was looked at, the proof has come too late.
async fn give_up(app: &AppParts, tx: &mut Tx, key: Option<&str>) -> Result<(), Refusal> {
    match key {
        Some(key) if once::take::<Pending>(app, &mut *tx, key).await?.is_none() => Err(steps::over()),
        _ => Ok(()),
    }
}

/// Ends the sign-ins of somebody that are under way: what they proved so far
/// counts no more.
///
/// # Errors
/// When the database says no.
pub async fn end_all(tx: &mut Tx, user: UserId) -> Result<(), DbError> {
    once::forget_all::<Pending>(tx, user).await
}

async fn finish(
    app: &AppParts,
    browser: &Session,
    key: Option<&str>,
    pending: Pending,
    user: User,
    origin: &Origin,
) -> Result<Arrival, Refusal> {
    let Pending { return_to, keep, methods, provider, link, .. } = pending;
    let mut tx = app.db.begin().await?;
    give_up(app, &mut tx, key).await?;
    let mut event = Event::new(AuditAction::SignIn, origin).by(&user);
    if let Some(strongest) = methods.last() {
        event = event.with(*strongest);
    }
    let provider_name = provider.as_ref().map(|provider| provider.provider.clone());
    audit::record(app, &mut tx, event.target(provider_name.as_deref().unwrap_or_default())).await?;
    // What waited for this person's sign-in, and not for anybody's.
    let waited = |external: &External| {
        external
            .email
            .as_deref()
            .is_some_and(|there| store::email_key(there) == store::email_key(&user.email))
    };
    if let Some(external) = link.filter(waited) {
        elsewhere::link(app, &mut tx, &user, &external, origin).await?;
    }
    tx.commit().await?;
    let principal =
        session::begin_session(app, browser, &user, Beginning { methods, keep, provider }, origin).await?;
    app.metrics.sign_ins.with_label_values(&["success"]).inc();
    Ok(Arrival::SignedIn { principal: Box::new(principal), return_to })
}
