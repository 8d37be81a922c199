//! Accounts elsewhere: who they are here, and linking them.

use devenv_cloud_api::{
    accounts::AuthMethod,
    audit::AuditAction,
    ids::{LinkId, UserId},
};
use serde::{Deserialize, Serialize};

use super::{Decision, Intent, Pending, decide};
use crate::{
    app::AppParts,
    audit::{self, Event},
    db::{DbError, Tx},
    identity::{
        account,
        principal::User,
        session::{Origin, ProviderSession},
        store,
    },
    mail::notices,
    refusal::Refusal,
};

/// Somebody's account elsewhere, as its provider vouched for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    /// The provider, by its name in the configuration.
    pub provider: String,
    /// The provider's name for people.
    pub provider_label: String,
    /// Who, by the provider's own name that never changes hands.
    pub subject: String,
    /// What the account is called there, for people. Identifies nobody.
    pub label: String,
    /// The address, only if the provider says that it is verified.
    pub email: Option<String>,
    /// What they are called.
    pub name: Option<String>,
    /// The provider's own session, if it said one.
    pub session: Option<String>,
    /// Whether people may make accounts here by way of this provider.
    pub creates: bool,
}

impl External {
    /// For people, e.g. `GitHub (octocat)`.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{} ({})", self.provider_label, self.label)
    }
}

/// Who it is here.
pub(super) enum Resolved {
    /// This person.
    User(User),
    /// Nobody yet: it will be linked with whoever signs in.
    SignInFirst,
    /// It is linked now with the person who asked for that.
    Linked,
}

/// Decides who it is here, and does what follows from it.
pub(super) async fn resolve(
    app: &AppParts,
    external: External,
    intent: Intent,
    pending: &mut Pending,
    origin: &Origin,
) -> Result<Resolved, Refusal> {
    let linked = store::find_link(&app.db, &external.provider, &external.subject).await?;
    let same_address = match &external.email {
        Some(email) => store::find_user_by_email(&app.db, email).await?.map(|user| user.id),
        None => None,
    };
    let decision = decide(intent, linked, same_address, external.creates && external.email.is_some());
    match decision {
        Decision::SignIn(user) => {
            // Disabled people are found nowhere.
            let user = store::find_user(&app.db, user).await?.ok_or_else(disabled)?;
            store::touch_link(&app.db, &external.provider, &external.subject, app.clock.now()).await?;
            pending.provider = Some(at_provider(&external));
            Ok(Resolved::User(user))
        }
        Decision::Link(user) | Decision::LinkedAlready(user) => {
            let user = store::find_user(&app.db, user).await?.ok_or_else(disabled)?;
            if matches!(decision, Decision::Link(_)) {
                let mut tx = app.db.begin().await?;
                link(app, &mut tx, &user, &external, origin).await?;
                tx.commit().await?;
            }
            Ok(Resolved::Linked)
        }
        Decision::SignInFirst(_) => {
            // With the address there, which is theirs: only its owner can go on.
            pending.email.clone_from(&external.email);
            pending.user = None;
            pending.methods.clear();
            pending.link = Some(external);
            Ok(Resolved::SignInFirst)
        }
        Decision::Create => {
            let user = create(app, &external, origin).await?;
            pending.provider = Some(at_provider(&external));
            Ok(Resolved::User(user))
        }
        Decision::Refuse(why) => {
            let event = Event::new(AuditAction::SignIn, origin).with(AuthMethod::Federated).refused();
            audit::record(app, &app.db, event.target(&external.shown())).await?;
            Err(Refusal::Unproven(why.to_owned()))
        }
    }
}

fn disabled() -> Refusal {
    Refusal::Unproven("this account is disabled; ask an administrator".to_owned())
}

fn at_provider(external: &External) -> ProviderSession {
    ProviderSession {
        provider: external.provider.clone(),
        subject: external.subject.clone(),
        session: external.session.clone(),
    }
}

async fn create(app: &AppParts, external: &External, origin: &Origin) -> Result<User, Refusal> {
    let Some(email) = external.email.clone() else { return Err(Refusal::Unauthenticated) };
    account::check_email(&email).map_err(|why| Refusal::Unproven(why.to_owned()))?;
    let named = external.name.as_deref().unwrap_or(&external.label).trim().to_owned();
    let name = if account::check_name(&named).is_ok() { named } else { email.clone() };
    let now = app.clock.now();
    let user = User { id: UserId(app.random.id(now)), email, name, instance_admin: false, created_at: now };
    let mut tx = app.db.begin().await?;
    match store::insert_user(&mut tx, &user, None, Some(now)).await {
        Err(DbError::Taken(_)) => {
            drop(tx);
            // Whoever may sign in was looked for before.
            return Err(match store::find_user_by_email(&app.db, &user.email).await? {
                Some(_) => {
                    Refusal::Conflict("this account was just made by another request; try again".to_owned())
                }
                None => disabled(),
            });
        }
        other => other?,
    }
    let event = Event::new(AuditAction::CreateAccount, origin).by(&user).with(AuthMethod::Federated);
    audit::record(app, &mut tx, event.target(&external.shown())).await?;
    link(app, &mut tx, &user, external, origin).await?;
    tx.commit().await?;
    Ok(user)
}

/// Links the account there with this person.
pub(super) async fn link(
    app: &AppParts,
    tx: &mut Tx,
    user: &User,
    external: &External,
    origin: &Origin,
) -> Result<(), Refusal> {
    let now = app.clock.now();
    let id = LinkId(app.random.id(now));
    match store::insert_link(tx, id, user.id, external, now).await {
        Err(DbError::Taken(_)) => {
            return Err(Refusal::Conflict("this account was linked with somebody meanwhile".to_owned()));
        }
        other => other?,
    }
    let event = Event::new(AuditAction::LinkAccount, origin).by(user).target(&external.shown());
    audit::record(app, &mut *tx, event).await?;
    notices::account_linked(app, tx, user, &external.shown(), origin).await
}
