//! The audit log: what happened around identity and permission, who did it,
//! from where, with which proof, and what came of it.
//!
//! An entry is written in the transaction of what it tells, where there is
//! one: what is not in the log did not happen. The database refuses to change
//! or delete entries. No secret is ever in one.

mod store;

use devenv_cloud_api::{
    Timestamp,
    accounts::AuthMethod,
    audit::{AuditAction, AuditEntry, AuditOutcome},
    ids::{AuditId, OrgId, UserId},
};

use crate::{
    app::AppParts,
    db::{DbError, Target},
    identity::{Origin, User},
};

/// An entry before it is written.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    action: AuditAction,
    outcome: AuditOutcome,
    actor: Option<&'a User>,
    subject: Option<&'a User>,
    org: Option<OrgId>,
    method: Option<AuthMethod>,
    target: String,
    origin: &'a Origin,
}

impl<'a> Event<'a> {
    /// Something that was done, by nobody known so far.
    #[must_use]
    pub const fn new(action: AuditAction, origin: &'a Origin) -> Self {
        let outcome = AuditOutcome::Success;
        Self {
            action,
            outcome,
            actor: None,
            subject: None,
            org: None,
            method: None,
            target: String::new(),
            origin,
        }
    }

    /// Somebody did it, with their own account unless [`Self::about`] says whose.
    #[must_use]
    pub fn by(mut self, actor: &'a User) -> Self {
        self.actor = Some(actor);
        self.subject = self.subject.or(Some(actor));
        self
    }

    /// Whose account it is about.
    #[must_use]
    pub const fn about(mut self, subject: &'a User) -> Self {
        self.subject = Some(subject);
        self
    }

    /// The organisation that it is about.
    #[must_use]
    pub const fn of(mut self, org: OrgId) -> Self {
        self.org = Some(org);
        self
    }

    /// With which proof.
    #[must_use]
    pub const fn with(mut self, method: AuthMethod) -> Self {
        self.method = Some(method);
        self
    }

    /// What else identifies it. Cut off where it is long.
    #[must_use]
    pub fn target(mut self, target: &str) -> Self {
        self.target = target.chars().filter(|c| !c.is_control()).take(254).collect();
        self
    }

    /// It was refused.
    #[must_use]
    pub const fn refused(mut self) -> Self {
        self.outcome = AuditOutcome::Refused;
        self
    }
}

/// Writes an entry.
///
/// # Errors
/// When the database says no: then what it tells must not happen either.
pub async fn record(app: &AppParts, target: impl Into<Target<'_>>, event: Event<'_>) -> Result<(), DbError> {
    let now = app.clock.now();
    let Event { action, outcome, actor, subject, org, method, target: what, origin } = event;
    let entry = AuditEntry {
        id: AuditId(app.random.id(now)),
        at: now,
        action,
        outcome,
        actor_id: actor.map(|user| user.id),
        actor: actor.map(|user| user.email.clone()).unwrap_or_default(),
        subject_id: subject.map(|user| user.id),
        subject: subject.map(|user| user.email.clone()).unwrap_or_default(),
        org_id: org,
        method,
        target: what,
        ip: origin.address.to_string(),
        user_agent: origin.user_agent.chars().filter(|c| !c.is_control()).take(256).collect(),
    };
    tracing::info!(action = %entry.action, outcome = %entry.outcome, actor = ?entry.actor_id,
        subject = ?entry.subject_id, address = entry.ip, "audit");
    store::insert(target, &entry).await
}

/// Which entries are asked for. All that is given must fit.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// By or about this person.
    pub person: Option<UserId>,
    /// About this organisation.
    pub org: Option<OrgId>,
    /// This was done.
    pub action: Option<AuditAction>,
    /// This came of it.
    pub outcome: Option<AuditOutcome>,
    /// A part of an address, a name or the target, in whatever case.
    pub text: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

/// Entries, newest first, from `before` on.
///
/// # Errors
/// When the database says no.
pub async fn list(
    app: &AppParts,
    filter: &Filter,
    before: Option<AuditId>,
    limit: u32,
) -> Result<Vec<AuditEntry>, DbError> {
    store::list(&app.db, filter, before, limit).await
}
