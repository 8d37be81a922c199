//! Invitations: the only way, but for the first user, to come to have an account.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use devenv_cloud_api::{
    audit::AuditAction,
    ids::{InvitationId, OrgId, UserId},
    people::{AcceptInvitation, Accepted, Invitation, InvitationStep, Invite, InviteMember, OpenInvitation},
    permissions::Role,
};

use super::store::{self, InvitationRow};
use crate::{
    app::AppParts,
    audit::{self, Event},
    db::{DbError, Target},
    identity::{self, Origin, User, check_email, check_name, email_key, secret},
    mail::{self, Message},
    orgs::{self, OrgAccess, OrgRow},
    refusal::{Fields, Refusal},
};

/// How long an invitation is good for.
const LIFE: TimeDelta = TimeDelta::days(7);

/// Who opens an invitation: somebody who is signed in, or nobody yet.
pub type Asker = Option<User>;

/// Invites somebody to an organisation that was found for managing members.
///
/// # Errors
/// When it is no address, the role is too high to give, or they were invited too often.
pub async fn invite_member(
    app: &AppParts,
    access: &OrgAccess,
    asker: &User,
    wanted: InviteMember,
    origin: &Origin,
) -> Result<Invitation, Refusal> {
    let InviteMember { email, role } = wanted;
    access.require_rank(role)?;
    let email = email.trim();
    if let Some(known) = store::find_by_email(&app.db, email).await?
        && orgs::role_of(app, access.org.id, known.user.id).await?.is_some()
    {
        return Err(Refusal::field("email", format!("{} is a member already", known.user.name)));
    }
    create(app, asker, email, Some((&access.org, role)), origin).await
}

/// Invites somebody to the instance, for its administrators.
///
/// # Errors
/// When it is no address, somebody has it already, or they were invited too often.
pub async fn invite(
    app: &AppParts,
    asker: &User,
    wanted: Invite,
    origin: &Origin,
) -> Result<Invitation, Refusal> {
    let email = wanted.email.trim();
    // Administrators see all accounts anyway.
    if store::find_by_email(&app.db, email).await?.is_some() {
        return Err(Refusal::field("email", "there is an account with this e-mail address already"));
    }
    create(app, asker, email, None, origin).await
}

async fn create(
    app: &AppParts,
    asker: &User,
    email: &str,
    place: Option<(&OrgRow, Role)>,
    origin: &Origin,
) -> Result<Invitation, Refusal> {
    check_email(email).map_err(|why| Refusal::field("email", why))?;
    app.people.mail(email)?;
    let now = app.clock.now();
    let token = URL_SAFE_NO_PAD.encode(app.random.bytes::<32>());
    let invitation = Invitation {
        id: InvitationId(app.random.id(now)),
        email: email.to_owned(),
        role: place.map(|(_, role)| role),
        inviter: asker.email.clone(),
        created_at: now,
        expires_at: now + LIFE,
    };
    let org = place.map(|(org, _)| org.id);
    let mut tx = app.db.begin().await?;
    store::revoke_earlier(&mut tx, email, org, now).await?;
    let hash = secret::hash(token.as_bytes());
    match store::insert_invitation(&mut tx, &invitation, &hash, org, asker.id).await {
        // The organisation was deleted this moment.
        Err(DbError::Dangling(_)) => return Err(Refusal::NotFound),
        other => other?,
    }
    // Names are what people chose; strangers get them only where they are harmless.
    let inviter = mail::name_or(&asker.name, &asker.email);
    let (subject, what) = match place {
        Some((org, role)) => {
            let name = mail::name_or(&org.display_name, org.slug.as_str());
            let role = article(role);
            (
                format!("You are invited to {name}"),
                format!("{inviter} ({}) invites you to the organisation {name}, as {role}.", asker.email),
            )
        }
        None => (
            "You are invited to devenv-cloud".to_owned(),
            format!(
                "{inviter} ({}) invites you to {}, a CI server.",
                asker.email, app.config.server.base_url
            ),
        ),
    };
    let message = Message::new(email, "", subject)
        .say(what)
        .link("See the invitation", app.url(&format!("/invitation?token={token}")))
        .close("The link works once, within seven days.")
        .close("If you do not know them, do nothing.");
    mail::send(app, &mut tx, message).await?;
    let mut event = Event::new(AuditAction::Invite, origin).by(asker).target(email);
    if let Some(org) = org {
        event = event.of(org);
    }
    audit::record(app, &mut tx, event).await?;
    tx.commit().await?;
    Ok(invitation)
}

fn article(role: Role) -> String {
    match role {
        Role::Admin | Role::Owner => format!("an {role}"),
        Role::Viewer | Role::Member => format!("a {role}"),
    }
}

/// The invitations to an organisation, or to the instance, that can still be
/// accepted, newest first.
///
/// # Errors
/// When the database says no.
pub async fn list(
    app: &AppParts,
    org: Option<OrgId>,
    before: Option<InvitationId>,
    limit: u32,
) -> Result<Vec<Invitation>, DbError> {
    store::list_invitations(&app.db, org, app.clock.now(), before, limit).await
}

/// Takes an invitation to an organisation, or to the instance, back.
///
/// # Errors
/// When there is no such invitation.
pub async fn revoke(
    app: &AppParts,
    asker: &User,
    org: Option<OrgId>,
    id: InvitationId,
    origin: &Origin,
) -> Result<(), Refusal> {
    let mut tx = app.db.begin().await?;
    let email = store::revoke_invitation(&mut tx, id, org, app.clock.now()).await?;
    let email = email.ok_or(Refusal::NotFound)?;
    let mut event = Event::new(AuditAction::RevokeInvitation, origin).by(asker).target(&email);
    if let Some(org) = org {
        event = event.of(org);
    }
    audit::record(app, &mut tx, event).await?;
    tx.commit().await?;
    Ok(())
}

/// The invitation of a link, as it looks to the one who opens it.
///
/// # Errors
/// When the link does not work (any more), or was tried too often.
pub async fn look(
    app: &AppParts,
    token: &str,
    asker: Asker,
    origin: &Origin,
) -> Result<OpenInvitation, Refusal> {
    app.people.link(origin)?;
    let row = find(app, &app.db, token).await?;
    let step = step(app, &row, asker.as_ref()).await?;
    let InvitationRow { invitation, org, .. } = row;
    let (org, org_name) = org.map_or((None, None), |(_, slug, name)| (Some(slug), Some(name)));
    let Invitation { email, role, inviter, expires_at, .. } = invitation;
    Ok(OpenInvitation { email, inviter, org, org_name, role, expires_at, step })
}

async fn find(app: &AppParts, target: impl Into<Target<'_>>, token: &str) -> Result<InvitationRow, Refusal> {
    let row = store::find_invitation(target, &secret::hash(token.as_bytes()), app.clock.now()).await?;
    let row = row.ok_or(Refusal::InvalidLink)?;
    // An invitation is worth what its inviter is: who may not invite any more, has not.
    let inviter = match row.invited_by {
        Some(id) => store::find(&app.db, id).await?.filter(|inviter| inviter.disabled_at.is_none()),
        None => None,
    };
    let inviter = inviter.ok_or(Refusal::InvalidLink)?.user;
    let holds = match (&row.org, row.invitation.role) {
        _ if inviter.instance_admin => true,
        (Some((org, ..)), Some(role)) => {
            let own = orgs::role_of(app, *org, inviter.id).await?;
            own.is_some_and(|own| own >= Role::Admin && own >= role)
        }
        _ => false,
    };
    if holds { Ok(row) } else { Err(Refusal::InvalidLink) }
}

async fn step(app: &AppParts, row: &InvitationRow, asker: Option<&User>) -> Result<InvitationStep, Refusal> {
    let key = email_key(&row.invitation.email);
    Ok(match asker {
        Some(user) if email_key(&user.email) == key => InvitationStep::Accept,
        Some(_) => InvitationStep::SignOut,
        None if store::find_by_email(&app.db, &key).await?.is_some() => InvitationStep::SignIn,
        None => InvitationStep::CreateAccount,
    })
}

/// Accepts an invitation, for oneself or for the account that one gets by it.
/// A new account is not signed in: sign-in asks for what it asks everybody for.
///
/// # Errors
/// When the link does not work (any more), one is signed in as somebody else,
/// there is an account already, or a field makes no sense.
pub async fn accept(
    app: &AppParts,
    given: AcceptInvitation,
    asker: Asker,
    origin: &Origin,
) -> Result<Accepted, Refusal> {
    app.people.link(origin)?;
    let row = find(app, &app.db, &given.token).await?;
    let (user, hash) = match (step(app, &row, asker.as_ref()).await?, asker) {
        (InvitationStep::Accept, Some(user)) => (user, None),
        (InvitationStep::CreateAccount, None) => {
            let (user, hash) = new_account(app, &row, given).await?;
            (user, Some(hash))
        }
        (InvitationStep::SignIn, _) => return Err(Refusal::Unauthenticated),
        _ => {
            return Err(Refusal::Conflict(format!(
                "this invitation is for {}, and you are signed in as somebody else; sign out first",
                row.invitation.email
            )));
        }
    };
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !store::use_invitation(&mut tx, row.invitation.id, now).await? {
        return Err(Refusal::InvalidLink);
    }
    if let Some(hash) = &hash {
        match identity::insert_user(&mut tx, &user, Some(hash), Some(now)).await {
            Err(DbError::Taken(_)) => return Err(Refusal::Unauthenticated),
            other => other?,
        }
        audit::record(app, &mut tx, Event::new(AuditAction::CreateAccount, origin).by(&user)).await?;
    } else {
        // The link was in that mailbox.
        store::verify_email(&mut tx, user.id, now).await?;
    }
    let mut event = Event::new(AuditAction::AcceptInvitation, origin).by(&user);
    let mut slug = None;
    if let (Some((org, name, _)), Some(role)) = (row.org, row.invitation.role) {
        match orgs::join(&mut tx, org, user.id, role, now).await {
            Err(DbError::Dangling(_)) => return Err(Refusal::InvalidLink),
            other => other?,
        }
        event = event.of(org).target(&format!("{name}, {role}"));
        slug = Some(name);
    }
    audit::record(app, &mut tx, event).await?;
    tx.commit().await?;
    Ok(Accepted { org: slug, created: hash.is_some() })
}

async fn new_account(
    app: &AppParts,
    row: &InvitationRow,
    given: AcceptInvitation,
) -> Result<(User, String), Refusal> {
    let AcceptInvitation { name, password, .. } = given;
    let email = row.invitation.email.clone();
    let (name, password) = (name.unwrap_or_default().trim().to_owned(), password.unwrap_or_default());
    let mut fields = Fields::default();
    fields.check("name", check_name(&name));
    fields.check("password", identity::check_password(&password, &[&email, &name]));
    fields.done()?;
    let hash = app.identity.passwords.hash(password, app.random.bytes()).await?;
    let now = app.clock.now();
    let id = UserId(app.random.id(now));
    Ok((User { id, email, name, instance_admin: false, created_at: now }, hash))
}
