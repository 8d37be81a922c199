//! One's own account.

use devenv_cloud_api::{
    accounts::{Assurance, AuthMethod, ChangePassword, Viewer},
    audit::AuditAction,
};
use tower_sessions::Session;

use super::{
    arrival, password,
    principal::{Principal, SessionPrincipal, User},
    session::{self, Origin},
    store,
};
use crate::{
    app::AppParts,
    audit::{self, Event},
    db::DbError,
    mail::notices,
    refusal::Refusal,
};

/// Whether this can be an e-mail address. Only mail itself could say more.
///
/// # Errors
/// A sentence for the person who filled it in.
pub fn check_email(email: &str) -> Result<(), &'static str> {
    let plausible = email
        .split_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
    let printable = !email.chars().any(|c| c.is_whitespace() || c.is_control());
    if email.len() > 254 {
        Err("an e-mail address has at most 254 characters")
    } else if plausible && printable {
        Ok(())
    } else {
        Err("this is no e-mail address; it looks like name@example.com")
    }
}

/// Whether people can be called so.
///
/// # Errors
/// A sentence for the person who filled it in.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.trim().is_empty() {
        Err("a name cannot be empty")
    } else if name.chars().count() > 100 {
        Err("a name has at most 100 characters")
    } else if name.chars().any(char::is_control) {
        Err("a name cannot hold line breaks or control characters")
    } else {
        Ok(())
    }
}

/// Changes one's own password. All other sessions end, and this one gets a new secret.
///
/// # Errors
/// When the old password is wrong, tried too often, or the new one is not accepted.
pub async fn change_password(
    app: &AppParts,
    session: &Session,
    asker: &SessionPrincipal,
    change: ChangePassword,
    origin: &Origin,
) -> Result<(), Refusal> {
    let ChangePassword { current, new } = change;
    let User { id, email, name, .. } = &asker.user;
    // A stolen session must not be good for guessing the password either.
    let taken = app.identity.sign_ins.take(&store::email_key(email), origin.address)?;
    let old = store::password_hash(&app.db, *id).await?;
    if !app.identity.passwords.verify(current, old.clone()).await? {
        return Err(Refusal::field("current", "this is not your password until now"));
    }
    app.identity.sign_ins.give_back(&taken);
    password::check(&new, &[email, name]).map_err(|why| Refusal::field("new", why))?;
    let hash = app.identity.passwords.hash(new, app.random.bytes()).await?;
    let mut tx = app.db.begin().await?;
    if !store::set_password(&mut tx, *id, &old.unwrap_or_default(), &hash).await? {
        return Err(Refusal::Conflict("the password was changed meanwhile; try again".to_owned()));
    }
    store::delete_other_sessions(&mut tx, *id, asker.session).await?;
    arrival::end_all(&mut tx, *id).await?;
    notices::password_changed(app, &mut tx, &asker.user, origin).await?;
    audit::record(app, &mut tx, Event::new(AuditAction::ChangePassword, origin).by(&asker.user)).await?;
    tx.commit().await?;
    session::reauthenticated(app, session, asker.held, AuthMethod::Password).await
}

/// Changes one's own display name.
///
/// # Errors
/// When nobody can be called so.
pub async fn rename(app: &AppParts, asker: &SessionPrincipal, name: &str) -> Result<User, Refusal> {
    let name = name.trim();
    check_name(name).map_err(|why| Refusal::field("name", why))?;
    store::rename_user(&app.db, asker.user.id, name).await?;
    Ok(User { name: name.to_owned(), ..asker.user.clone() })
}

/// The one who asks, as they see themselves; `None` for nobody.
///
/// # Errors
/// When the database says no.
pub async fn viewer(app: &AppParts, principal: &Principal) -> Result<Option<Viewer>, DbError> {
    let (user, methods, assurance, authenticated_at) = match principal {
        Principal::Anonymous | Principal::Runner(_) => return Ok(None),
        Principal::Session(s) => (&s.user, s.methods.clone(), s.assurance, s.authenticated_at),
        Principal::Token(t) => (&t.user, vec![AuthMethod::Token], Assurance::Single, t.created_at),
    };
    // A token that is limited to a project knows of no organisations.
    let limited = matches!(principal, Principal::Token(token) if token.project.is_some());
    let orgs = if limited { Vec::new() } else { store::memberships(&app.db, user.id).await? };
    let due_at = match principal {
        Principal::Session(session) => session.due_at,
        _ => None,
    };
    let standing = principal.standing();
    Ok(Some(Viewer {
        user: user.clone().into(),
        methods,
        assurance,
        authenticated_at,
        standing,
        due_at,
        orgs,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_checked() {
        for good in ["a@b", "ada.lovelace+ci@example.com", "ü@bücher.example"] {
            assert_eq!(check_email(good), Ok(()), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(250));
        for bad in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\n", &long] {
            assert!(check_email(bad).is_err(), "{bad}");
        }
        assert_eq!(check_name("Ada Lovelace"), Ok(()));
        for bad in ["", "   ", "a\nb", &"x".repeat(101)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
