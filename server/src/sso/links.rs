//! Accounts elsewhere that are linked with one's own here.

use devenv_cloud_api::{audit::AuditAction, ids::LinkId, sign_in::LinkedAccount};

use super::store;
use crate::{
    app::AppParts,
    audit::{self, Event},
    identity::{Origin, SessionPrincipal, factors},
    refusal::Refusal,
};

/// Somebody's linked accounts, oldest first.
///
/// # Errors
/// When the database says no.
pub async fn links(
    app: &AppParts,
    asker: &SessionPrincipal,
    after: Option<LinkId>,
    limit: u32,
) -> Result<Vec<LinkedAccount>, Refusal> {
    let mut links = store::links(&app.db, asker.user.id, after, limit).await?;
    for link in &mut links {
        link.provider_label = app.sso.label(&link.provider);
    }
    Ok(links)
}

/// Removes a link. Sessions that began by it go on; the last way in stays.
///
/// # Errors
/// When there is no such link, or nothing else to sign in with.
pub async fn unlink(
    app: &AppParts,
    asker: &SessionPrincipal,
    link: LinkId,
    origin: &Origin,
) -> Result<(), Refusal> {
    let mut tx = app.db.begin().await?;
    let Some((provider, label)) = store::delete_link(&mut tx, asker.user.id, link).await? else {
        return Err(Refusal::NotFound);
    };
    factors::require_enough_left(&mut tx, asker.user.id).await?;
    let target = format!("{} ({label})", app.sso.label(&provider));
    let event = Event::new(AuditAction::UnlinkAccount, origin).by(&asker.user).target(&target);
    audit::record(app, &mut tx, event).await?;
    tx.commit().await?;
    Ok(())
}
