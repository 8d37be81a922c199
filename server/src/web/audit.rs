//! The audit log, for the person, for admins of an organisation, and for
//! administrators of the instance, who also see what became of mail.

use std::collections::VecDeque;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use chrono::{DateTime, Utc};
use devenv_cloud_api::{
    audit::{AuditAction, AuditEntry, AuditOutcome},
    ids::{AuditId, MailId, UserId},
    mail::{Mail, MailText},
    page::Page,
    permissions::Action,
};
use futures::stream;
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError,
    describe::RefusedToRead,
    extract::{Administrator, InPerson, Paging, Params, Segments},
};
use crate::{
    app::App,
    audit::{self, Filter},
    identity::Principal,
    mail, orgs,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(mine))
        .routes(routes!(export_mine))
        .routes(routes!(of_org))
        .routes(routes!(export_of_org))
        .routes(routes!(of_instance))
        .routes(routes!(export_of_instance))
        .routes(routes!(mails))
        .routes(routes!(mail_text))
}

/// How many entries of an export are read at a time.
const BATCH: u32 = 500;

/// Which entries.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditParams {
    /// `next_cursor` of the page before; absent for the first page.
    cursor: Option<String>,
    /// How many rows at most, 1 to 100. Default 50.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u32>,
    /// Only this was done.
    action: Option<AuditAction>,
    /// Only this came of it.
    outcome: Option<AuditOutcome>,
    /// Only by or about this person.
    person: Option<UserId>,
    /// A part of an e-mail address, of what else identifies it, or of the network address.
    text: Option<String>,
    /// Not before this instant (RFC 3339).
    from: Option<DateTime<Utc>>,
    /// Before this instant (RFC 3339).
    until: Option<DateTime<Utc>>,
}

impl AuditParams {
    fn paging(&self) -> Paging {
        Paging { cursor: self.cursor.clone(), limit: self.limit }
    }

    fn filter(self) -> Filter {
        let Self { action, outcome, person, text, from, until, .. } = self;
        let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        Filter { person, org: None, action, outcome, text, from, until }
    }
}

/// Who reads.
#[derive(Clone, Copy)]
enum Reader {
    /// Somebody, about themselves.
    Oneself(UserId),
    /// One whose business it is where others were.
    Administrator,
}

/// Where others were when they did something to one's account is their business.
fn shown(reader: Reader, mut entry: AuditEntry) -> AuditEntry {
    if let Reader::Oneself(user) = reader
        && entry.actor_id.is_some_and(|actor| actor != user)
    {
        entry.ip.clear();
        entry.user_agent.clear();
    }
    entry
}

async fn page(
    app: &App,
    reader: Reader,
    paging: &Paging,
    filter: &Filter,
) -> Result<Json<Page<AuditEntry>>, ApiError> {
    let entries = audit::list(app, filter, paging.after()?, paging.limit()? + 1).await?;
    let entries = entries.into_iter().map(|entry| shown(reader, entry)).collect();
    Ok(Json(paging.page(entries, |entry| entry.id)?))
}

/// All entries as JSON lines, newest first. Read in batches while they are sent:
/// the log may be longer than memory. When the database says no in the middle,
/// the connection breaks, so that nobody takes a part for the whole.
fn export(app: App, reader: Reader, filter: Filter) -> Response {
    let begin = (app, filter, None::<AuditId>, VecDeque::new(), false);
    let lines = stream::try_unfold(begin, move |(app, filter, before, mut ready, over)| async move {
        let (mut before, mut over) = (before, over);
        if ready.is_empty() && !over {
            let batch = audit::list(&app, &filter, before, BATCH).await?;
            over = u32::try_from(batch.len()).is_ok_and(|read| read < BATCH);
            before = batch.last().map(|entry| entry.id);
            ready.extend(batch);
        }
        let Some(entry) = ready.pop_front() else { return Ok::<_, anyhow::Error>(None) };
        let mut line = serde_json::to_vec(&shown(reader, entry))?;
        line.push(b'\n');
        Ok(Some((line, (app, filter, before, ready, over))))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"audit.jsonl\""),
    ];
    (headers, Body::from_stream(lines)).into_response()
}

/// List what happened around my account
///
/// Newest first.
#[utoipa::path(get, path = "/account/audit", operation_id = "listMyAudit", tag = "accounts",
    params(AuditParams),
    responses((status = 200, description = "Entries", body = Page<AuditEntry>), RefusedToRead),
    security(("session" = [])))]
async fn mine(
    State(app): State<App>,
    InPerson(asker): InPerson,
    Params(params): Params<AuditParams>,
) -> Result<Json<Page<AuditEntry>>, ApiError> {
    let user = asker.user.id;
    let (paging, filter) = (params.paging(), params.filter());
    page(&app, Reader::Oneself(user), &paging, &Filter { person: Some(user), ..filter }).await
}

/// Export what happened around my account
///
/// As JSON lines, newest first.
#[utoipa::path(get, path = "/account/audit/export", operation_id = "exportMyAudit", tag = "accounts",
    params(AuditParams),
    responses((status = 200, description = "Entries", body = AuditEntry, content_type = "application/jsonl"),
        RefusedToRead), security(("session" = [])))]
async fn export_mine(
    State(app): State<App>,
    InPerson(asker): InPerson,
    Params(params): Params<AuditParams>,
) -> Response {
    let user = asker.user.id;
    export(app, Reader::Oneself(user), Filter { person: Some(user), ..params.filter() })
}

/// List what happened around an organisation
///
/// Newest first. For admins and owners.
#[utoipa::path(get, path = "/orgs/{org}/audit", operation_id = "listOrgAudit", tag = "organisations",
    params(("org" = String, Path, description = "The organisation's name"), AuditParams),
    responses((status = 200, description = "Entries", body = Page<AuditEntry>), RefusedToRead))]
async fn of_org(
    State(app): State<App>,
    principal: Principal,
    Segments(org): Segments<String>,
    Params(params): Params<AuditParams>,
) -> Result<Json<Page<AuditEntry>>, ApiError> {
    let access = orgs::find_for(&app, &principal, &org, Action::ReadAudit).await?;
    let (paging, filter) = (params.paging(), params.filter());
    page(&app, Reader::Administrator, &paging, &Filter { org: Some(access.org.id), ..filter }).await
}

/// Export what happened around an organisation
///
/// As JSON lines, newest first.
#[utoipa::path(get, path = "/orgs/{org}/audit/export", operation_id = "exportOrgAudit",
    tag = "organisations",
    params(("org" = String, Path, description = "The organisation's name"), AuditParams),
    responses((status = 200, description = "Entries", body = AuditEntry, content_type = "application/jsonl"),
        RefusedToRead))]
async fn export_of_org(
    State(app): State<App>,
    principal: Principal,
    Segments(org): Segments<String>,
    Params(params): Params<AuditParams>,
) -> Result<Response, ApiError> {
    let access = orgs::find_for(&app, &principal, &org, Action::ReadAudit).await?;
    Ok(export(app, Reader::Administrator, Filter { org: Some(access.org.id), ..params.filter() }))
}

/// List what happened on this instance
///
/// Newest first.
#[utoipa::path(get, path = "/instance/audit", operation_id = "listInstanceAudit", tag = "instance",
    params(AuditParams),
    responses((status = 200, description = "Entries", body = Page<AuditEntry>), RefusedToRead),
    security(("session" = [])))]
async fn of_instance(
    State(app): State<App>,
    _: Administrator,
    Params(params): Params<AuditParams>,
) -> Result<Json<Page<AuditEntry>>, ApiError> {
    let (paging, filter) = (params.paging(), params.filter());
    page(&app, Reader::Administrator, &paging, &filter).await
}

/// Export what happened on this instance
///
/// As JSON lines, newest first.
#[utoipa::path(get, path = "/instance/audit/export", operation_id = "exportInstanceAudit", tag = "instance",
    params(AuditParams),
    responses((status = 200, description = "Entries", body = AuditEntry, content_type = "application/jsonl"),
        RefusedToRead), security(("session" = [])))]
async fn export_of_instance(
    State(app): State<App>,
    _: Administrator,
    Params(params): Params<AuditParams>,
) -> Response {
    export(app, Reader::Administrator, params.filter())
}

/// List the mails that this instance sent
///
/// Newest first, without what they say.
#[utoipa::path(get, path = "/instance/mails", operation_id = "listMails", tag = "instance", params(Paging),
    responses((status = 200, description = "Mails", body = Page<Mail>), RefusedToRead),
    security(("session" = [])))]
async fn mails(
    State(app): State<App>,
    _: Administrator,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<Mail>>, ApiError> {
    let mails = mail::list(&app, paging.after()?, paging.limit()? + 1).await?;
    Ok(Json(paging.page(mails, |mail| mail.id)?))
}

/// Read a mail that was written to a file
///
/// Only where no mail server is configured. What was sent to somebody is theirs.
#[utoipa::path(get, path = "/instance/mails/{mail}", operation_id = "getMail", tag = "instance",
    params(("mail" = MailId, Path, description = "The mail's id")),
    responses((status = 200, description = "The mail", body = MailText), RefusedToRead),
    security(("session" = [])))]
async fn mail_text(
    State(app): State<App>,
    _: Administrator,
    Segments(mail): Segments<MailId>,
) -> Result<Json<MailText>, ApiError> {
    Ok(Json(mail::read(&app, mail).await?))
}
