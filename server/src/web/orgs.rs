//! Organisations and members.

use axum::{Json, extract::State, http::StatusCode};
use devenv_cloud_api::{
    ids::UserId,
    orgs::{AddMember, CreateOrg, Member, Org, UpdateMember, UpdateOrg},
    page::Page,
    permissions::Action,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError,
    describe::{Refused, RefusedToRead},
    extract::{Body, Origin, Paging, Params, Segments},
};
use crate::{access, app::App, identity::Principal, orgs, projects};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, delete))
        .routes(routes!(list_members, add_member))
        .routes(routes!(update_member, remove_member))
}

/// List my organisations
///
/// By name.
#[utoipa::path(get, path = "/orgs", operation_id = "listOrgs", tag = "organisations", params(Paging),
    responses((status = 200, description = "Organisations", body = Page<Org>), RefusedToRead))]
async fn list(
    State(app): State<App>,
    principal: Principal,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Org>>, ApiError> {
    let orgs = orgs::list(&app, &principal, paging.after()?, paging.limit()? + 1).await?;
    Ok(Json(paging.page(orgs, |org| org.slug.clone())?))
}

/// Create an organisation
///
/// Whoever creates it is its owner.
#[utoipa::path(post, path = "/orgs", operation_id = "createOrg", tag = "organisations",
    request_body = CreateOrg,
    responses((status = 201, description = "The organisation", body = Org), Refused))]
async fn create(
    State(app): State<App>,
    principal: Principal,
    Origin(origin): Origin,
    Body(wanted): Body<CreateOrg>,
) -> Result<(StatusCode, Json<Org>), ApiError> {
    Ok((StatusCode::CREATED, Json(orgs::create(&app, &principal, wanted, &origin).await?)))
}

/// Get an organisation
#[utoipa::path(get, path = "/orgs/{org}", operation_id = "getOrg", tag = "organisations",
    params(("org" = String, Path, description = "The organisation's name")),
    responses((status = 200, description = "The organisation", body = Org), RefusedToRead))]
async fn get(
    State(app): State<App>,
    principal: Principal,
    Segments(org): Segments<String>,
) -> Result<Json<Org>, ApiError> {
    Ok(Json(orgs::find_for(&app, &principal, &org, Action::ReadOrg).await?.show()))
}

/// Change an organisation
#[utoipa::path(patch, path = "/orgs/{org}", operation_id = "updateOrg", tag = "organisations",
    params(("org" = String, Path, description = "The organisation's name")), request_body = UpdateOrg,
    responses((status = 200, description = "The organisation as it is now", body = Org), Refused))]
async fn update(
    State(app): State<App>,
    principal: Principal,
    Segments(org): Segments<String>,
    Body(change): Body<UpdateOrg>,
) -> Result<Json<Org>, ApiError> {
    let access = orgs::find_for(&app, &principal, &org, Action::UpdateOrg).await?;
    Ok(Json(orgs::update(&app, access, change).await?))
}

/// Delete an organisation
///
/// With its projects, their repositories, runs and logs. There is no way back.
#[utoipa::path(delete, path = "/orgs/{org}", operation_id = "deleteOrg", tag = "organisations",
    params(("org" = String, Path, description = "The organisation's name")),
    responses((status = 204, description = "It is gone"), Refused))]
async fn delete(
    State(app): State<App>,
    principal: Principal,
    Origin(origin): Origin,
    Segments(org): Segments<String>,
) -> Result<StatusCode, ApiError> {
    let access = orgs::find_for(&app, &principal, &org, Action::DeleteOrg).await?;
    for project in orgs::delete(&app, access, &origin).await? {
        projects::discard(&app, project).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// List the members of an organisation
///
/// Oldest account first.
#[utoipa::path(get, path = "/orgs/{org}/members", operation_id = "listMembers", tag = "organisations",
    params(("org" = String, Path, description = "The organisation's name"), Paging),
    responses((status = 200, description = "Members", body = Page<Member>), RefusedToRead))]
async fn list_members(
    State(app): State<App>,
    principal: Principal,
    Segments(org): Segments<String>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Member>>, ApiError> {
    let access = orgs::find_for(&app, &principal, &org, Action::ReadMembers).await?;
    let members = orgs::list_members(&app, &access, paging.after()?, paging.limit()? + 1).await?;
    Ok(Json(paging.page(members, |member| member.user_id)?))
}

/// Add a member
///
/// Somebody who has an account on this instance, by its e-mail address.
#[utoipa::path(post, path = "/orgs/{org}/members", operation_id = "addMember", tag = "organisations",
    params(("org" = String, Path, description = "The organisation's name")), request_body = AddMember,
    responses((status = 201, description = "The member", body = Member), Refused))]
async fn add_member(
    State(app): State<App>,
    principal: Principal,
    Origin(origin): Origin,
    Segments(org): Segments<String>,
    Body(wanted): Body<AddMember>,
) -> Result<(StatusCode, Json<Member>), ApiError> {
    let access = orgs::find_for(&app, &principal, &org, Action::ManageMembers).await?;
    Ok((StatusCode::CREATED, Json(orgs::add_member(&app, &access, wanted, &origin).await?)))
}

/// Change a member's role
#[utoipa::path(patch, path = "/orgs/{org}/members/{user}", operation_id = "updateMember",
    tag = "organisations",
    params(("org" = String, Path, description = "The organisation's name"),
        ("user" = UserId, Path, description = "The member's id")),
    request_body = UpdateMember,
    responses((status = 200, description = "The member as it is now", body = Member), Refused))]
async fn update_member(
    State(app): State<App>,
    principal: Principal,
    Origin(origin): Origin,
    Segments((org, user)): Segments<(String, UserId)>,
    Body(change): Body<UpdateMember>,
) -> Result<Json<Member>, ApiError> {
    let access = orgs::find_for(&app, &principal, &org, Action::ManageMembers).await?;
    Ok(Json(orgs::change_role(&app, &access, user, change, &origin).await?))
}

/// Remove a member
///
/// Everybody may remove themselves, as long as an owner is left.
#[utoipa::path(delete, path = "/orgs/{org}/members/{user}", operation_id = "removeMember",
    tag = "organisations",
    params(("org" = String, Path, description = "The organisation's name"),
        ("user" = UserId, Path, description = "The member's id")),
    responses((status = 204, description = "No member any more"), Refused))]
async fn remove_member(
    State(app): State<App>,
    principal: Principal,
    Origin(origin): Origin,
    Segments((org, user)): Segments<(String, UserId)>,
) -> Result<StatusCode, ApiError> {
    let action = access::to_remove_member(&principal, user);
    let access = orgs::find_for(&app, &principal, &org, action).await?;
    orgs::remove_member(&app, &access, user, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
