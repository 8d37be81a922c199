//! Resets, confirmations, invitations, and the people of the instance.

use axum::{Json, extract::State, http::StatusCode};
use devenv_cloud_api::{
    ids::{InvitationId, OrgId, UserId},
    page::Page,
    people::{
        AcceptInvitation, Accepted, AskReset, ChangeEmail, EmailAddress, Invitation, Invite, InviteMember,
        LinkToken, OpenInvitation, Person, ResetPassword,
    },
    permissions::Action,
};
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError,
    describe::{Refused, RefusedToAccept, RefusedToRead, RefusedToSignIn},
    extract::{
        Administrator, Body, Confirmed, ConfirmedAdministrator, InPerson, OpenBody, Origin, Paging, Params,
        Segments,
    },
};
use crate::{
    app::App,
    identity::{Principal, User},
    orgs, people,
    refusal::Refusal,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(ask_reset))
        .routes(routes!(reset))
        .routes(routes!(email, change_email))
        .routes(routes!(ask_verification))
        .routes(routes!(confirm_email))
        .routes(routes!(list_invitations, invite_member))
        .routes(routes!(revoke_invitation))
        .routes(routes!(list_instance_invitations, invite))
        .routes(routes!(revoke_instance_invitation))
        .routes(routes!(look))
        .routes(routes!(accept))
        .routes(routes!(list_people))
        .routes(routes!(disable))
        .routes(routes!(enable))
}

/// Ask for a link to set a new password
///
/// By e-mail. The answer is the same whether or not there is such an account.
#[utoipa::path(post, path = "/password-reset", operation_id = "askPasswordReset", tag = "accounts",
    request_body = AskReset,
    responses((status = 202, description = "If there is such an account, the mail is on its way"),
        RefusedToSignIn), security(()))]
async fn ask_reset(
    State(app): State<App>,
    Origin(origin): Origin,
    OpenBody(ask): OpenBody<AskReset>,
) -> Result<StatusCode, ApiError> {
    people::ask_reset(&app, ask, &origin).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Set a new password by a link
///
/// Ends all sessions. Signs nobody in: sign-in may ask for more than a password.
#[utoipa::path(post, path = "/password-reset/confirm", operation_id = "resetPassword", tag = "accounts",
    request_body = ResetPassword,
    responses((status = 204, description = "Set"), RefusedToSignIn), security(()))]
async fn reset(
    State(app): State<App>,
    Origin(origin): Origin,
    OpenBody(given): OpenBody<ResetPassword>,
) -> Result<StatusCode, ApiError> {
    people::reset(&app, given, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Get my e-mail address
#[utoipa::path(get, path = "/account/email", operation_id = "getEmail", tag = "accounts",
    responses((status = 200, description = "The address", body = EmailAddress), RefusedToRead),
    security(("session" = [])))]
async fn email(State(app): State<App>, InPerson(asker): InPerson) -> Result<Json<EmailAddress>, ApiError> {
    Ok(Json(people::address(&app, &asker.user).await?))
}

/// Change my e-mail address
///
/// Sends a link to the new address; it changes when that link is followed.
#[utoipa::path(post, path = "/account/email", operation_id = "changeEmail", tag = "accounts",
    request_body = ChangeEmail,
    responses((status = 202, description = "The mail is on its way"), Refused), security(("session" = [])))]
async fn change_email(
    State(app): State<App>,
    Origin(origin): Origin,
    Confirmed(asker): Confirmed,
    Body(change): Body<ChangeEmail>,
) -> Result<StatusCode, ApiError> {
    people::ask_change(&app, &asker.user, change, &origin).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Ask for a link to confirm my e-mail address
#[utoipa::path(post, path = "/account/email/verification", operation_id = "askVerification",
    tag = "accounts",
    responses((status = 202, description = "The mail is on its way"), Refused), security(("session" = [])))]
async fn ask_verification(State(app): State<App>, InPerson(asker): InPerson) -> Result<StatusCode, ApiError> {
    people::ask_verification(&app, &asker.user).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Confirm an e-mail address by a link
#[utoipa::path(post, path = "/email-confirmation", operation_id = "confirmEmail", tag = "accounts",
    request_body = LinkToken,
    responses((status = 200, description = "The address, which is the account's now", body = EmailAddress),
        RefusedToSignIn), security(()))]
async fn confirm_email(
    State(app): State<App>,
    Origin(origin): Origin,
    OpenBody(given): OpenBody<LinkToken>,
) -> Result<Json<EmailAddress>, ApiError> {
    let email = people::confirm(&app, given, &origin).await?;
    Ok(Json(EmailAddress { email, verified_at: Some(app.clock.now()) }))
}

/// Members are managed by a person or for one: a runner is none.
fn person(principal: &Principal) -> Result<&User, Refusal> {
    principal.user().ok_or(Refusal::Unauthenticated)
}

async fn list(app: &App, org: Option<OrgId>, paging: &Paging) -> Result<Json<Page<Invitation>>, ApiError> {
    let invitations = people::invitations(app, org, paging.after()?, paging.limit()? + 1).await?;
    Ok(Json(paging.page(invitations, |invitation| invitation.id)?))
}

/// List the invitations to an organisation
///
/// Those that can still be accepted, newest first.
#[utoipa::path(get, path = "/orgs/{org}/invitations", operation_id = "listInvitations",
    tag = "organisations",
    params(("org" = String, Path, description = "The organisation's name"), Paging),
    responses((status = 200, description = "Invitations", body = Page<Invitation>), RefusedToRead))]
async fn list_invitations(
    State(app): State<App>,
    principal: Principal,
    Segments(org): Segments<String>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Invitation>>, ApiError> {
    let access = orgs::find_for(&app, &principal, &org, Action::ReadAudit).await?;
    list(&app, Some(access.org.id), &paging).await
}

/// Invite somebody to an organisation
///
/// By e-mail, with a link that works once, within seven days. Who has no
/// account yet gets one by it. An earlier invitation of the same address to
/// this organisation ends.
#[utoipa::path(post, path = "/orgs/{org}/invitations", operation_id = "inviteMember", tag = "organisations",
    params(("org" = String, Path, description = "The organisation's name")), request_body = InviteMember,
    responses((status = 201, description = "The invitation", body = Invitation), Refused))]
async fn invite_member(
    State(app): State<App>,
    principal: Principal,
    Origin(origin): Origin,
    Segments(org): Segments<String>,
    Body(wanted): Body<InviteMember>,
) -> Result<(StatusCode, Json<Invitation>), ApiError> {
    let access = orgs::find_for(&app, &principal, &org, Action::ManageMembers).await?;
    let invitation = people::invite_member(&app, &access, person(&principal)?, wanted, &origin).await?;
    Ok((StatusCode::CREATED, Json(invitation)))
}

/// Take an invitation to an organisation back
#[utoipa::path(delete, path = "/orgs/{org}/invitations/{invitation}", operation_id = "revokeInvitation",
    tag = "organisations",
    params(("org" = String, Path, description = "The organisation's name"),
        ("invitation" = InvitationId, Path, description = "The invitation's id")),
    responses((status = 204, description = "Its link does not work any more"), Refused))]
async fn revoke_invitation(
    State(app): State<App>,
    principal: Principal,
    Origin(origin): Origin,
    Segments((org, invitation)): Segments<(String, InvitationId)>,
) -> Result<StatusCode, ApiError> {
    let access = orgs::find_for(&app, &principal, &org, Action::ManageMembers).await?;
    let org = Some(access.org.id);
    people::revoke_invitation(&app, person(&principal)?, org, invitation, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the invitations to this instance
///
/// Those that are to no organisation and can still be accepted, newest first.
#[utoipa::path(get, path = "/instance/invitations", operation_id = "listInstanceInvitations",
    tag = "instance", params(Paging),
    responses((status = 200, description = "Invitations", body = Page<Invitation>), RefusedToRead),
    security(("session" = [])))]
async fn list_instance_invitations(
    State(app): State<App>,
    _: Administrator,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Invitation>>, ApiError> {
    list(&app, None, &paging).await
}

/// Invite somebody to this instance
///
/// By e-mail, with a link that works once, within seven days.
#[utoipa::path(post, path = "/instance/invitations", operation_id = "invite", tag = "instance",
    request_body = Invite,
    responses((status = 201, description = "The invitation", body = Invitation), Refused),
    security(("session" = [])))]
async fn invite(
    State(app): State<App>,
    ConfirmedAdministrator(asker): ConfirmedAdministrator,
    Origin(origin): Origin,
    Body(wanted): Body<Invite>,
) -> Result<(StatusCode, Json<Invitation>), ApiError> {
    let invitation = people::invite(&app, &asker.user, wanted, &origin).await?;
    Ok((StatusCode::CREATED, Json(invitation)))
}

/// Take an invitation to this instance back
#[utoipa::path(delete, path = "/instance/invitations/{invitation}",
    operation_id = "revokeInstanceInvitation", tag = "instance",
    params(("invitation" = InvitationId, Path, description = "The invitation's id")),
    responses((status = 204, description = "Its link does not work any more"), Refused),
    security(("session" = [])))]
async fn revoke_instance_invitation(
    State(app): State<App>,
    ConfirmedAdministrator(asker): ConfirmedAdministrator,
    Origin(origin): Origin,
    Segments(invitation): Segments<InvitationId>,
) -> Result<StatusCode, ApiError> {
    people::revoke_invitation(&app, &asker.user, None, invitation, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The token of a link.
#[derive(Clone, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TokenParams {
    /// The token of the link.
    token: String,
}

/// Look at an invitation
///
/// By its link. Says what it takes to accept it: an account, signing in, or
/// nothing more.
#[utoipa::path(get, path = "/invitation", operation_id = "lookAtInvitation", tag = "accounts",
    params(TokenParams),
    responses((status = 200, description = "The invitation", body = OpenInvitation), RefusedToSignIn),
    security((), ("session" = [])))]
async fn look(
    State(app): State<App>,
    asker: Option<InPerson>,
    Origin(origin): Origin,
    Params(params): Params<TokenParams>,
) -> Result<Json<OpenInvitation>, ApiError> {
    let asker = asker.map(|InPerson(session)| session.user);
    Ok(Json(people::look(&app, &params.token, asker, &origin).await?))
}

/// Accept an invitation
///
/// Signed in with the address that it was sent to, one joins. Signed in as
/// nobody, one gets an account, and signs in with it next.
#[utoipa::path(post, path = "/invitation/accept", operation_id = "acceptInvitation", tag = "accounts",
    request_body = AcceptInvitation,
    responses((status = 200, description = "Accepted", body = Accepted), RefusedToAccept),
    security((), ("session" = [])))]
async fn accept(
    State(app): State<App>,
    asker: Option<InPerson>,
    Origin(origin): Origin,
    OpenBody(given): OpenBody<AcceptInvitation>,
) -> Result<Json<Accepted>, ApiError> {
    let asker = asker.map(|InPerson(session)| session.user);
    Ok(Json(people::accept(&app, given, asker, &origin).await?))
}

/// Which people.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PeopleParams {
    /// `next_cursor` of the page before; absent for the first page.
    cursor: Option<String>,
    /// How many rows at most, 1 to 100. Default 50.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u32>,
    /// A part of the name or the address.
    text: Option<String>,
}

/// List the people of this instance
///
/// Newest account first.
#[utoipa::path(get, path = "/instance/users", operation_id = "listPeople", tag = "instance",
    params(PeopleParams),
    responses((status = 200, description = "People", body = Page<Person>), RefusedToRead),
    security(("session" = [])))]
async fn list_people(
    State(app): State<App>,
    _: Administrator,
    Params(params): Params<PeopleParams>,
) -> Result<Json<Page<Person>>, ApiError> {
    let PeopleParams { cursor, limit, text } = params;
    let paging = Paging { cursor, limit };
    let text = text.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let people = people::list(&app, text, paging.after()?, paging.limit()? + 1).await?;
    Ok(Json(paging.page(people, |person| person.id)?))
}

/// Disable an account
///
/// Its sessions, its tokens and what it has under way end at once. Not one's own.
#[utoipa::path(post, path = "/instance/users/{user}/disable", operation_id = "disableAccount",
    tag = "instance", params(("user" = UserId, Path, description = "Whose account")),
    responses((status = 204, description = "Disabled"), Refused), security(("session" = [])))]
async fn disable(
    State(app): State<App>,
    ConfirmedAdministrator(asker): ConfirmedAdministrator,
    Origin(origin): Origin,
    Segments(user): Segments<UserId>,
) -> Result<StatusCode, ApiError> {
    people::disable(&app, &asker.user, user, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Enable an account again
///
/// Its sessions and tokens stay dead.
#[utoipa::path(post, path = "/instance/users/{user}/enable", operation_id = "enableAccount",
    tag = "instance", params(("user" = UserId, Path, description = "Whose account")),
    responses((status = 204, description = "Enabled"), Refused), security(("session" = [])))]
async fn enable(
    State(app): State<App>,
    ConfirmedAdministrator(asker): ConfirmedAdministrator,
    Origin(origin): Origin,
    Segments(user): Segments<UserId>,
) -> Result<StatusCode, ApiError> {
    people::enable(&app, &asker.user, user, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
