//! The SQL of the audit log.

use devenv_cloud_api::{audit::AuditEntry, ids::AuditId};

use super::Filter;
use crate::db::{Db, DbError, Row, Target, in_pattern, query};

pub(super) async fn insert(target: impl Into<Target<'_>>, entry: &AuditEntry) -> Result<(), DbError> {
    query(
        "INSERT INTO audit (id, at, action, outcome, actor_id, actor, subject_id, subject, org_id, method, \
         target, ip, user_agent) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(entry.id)
    .bind(entry.at)
    .bind(entry.action.as_str())
    .bind(entry.outcome.as_str())
    .bind(entry.actor_id)
    .bind(&entry.actor)
    .bind(entry.subject_id)
    .bind(&entry.subject)
    .bind(entry.org_id)
    .bind(entry.method.map(|method| method.as_str().to_owned()))
    .bind(&entry.target)
    .bind(&entry.ip)
    .bind(&entry.user_agent)
    .execute(target)
    .await
    .map(|_| ())
}

pub(super) async fn list(
    db: &Db,
    filter: &Filter,
    before: Option<AuditId>,
    limit: u32,
) -> Result<Vec<AuditEntry>, DbError> {
    let text = filter.text.as_ref().map(|text| format!("%{}%", in_pattern(&text.to_lowercase())));
    query(
        "SELECT id, at, action, outcome, actor_id, actor, subject_id, subject, org_id, method, target, ip, \
         user_agent FROM audit \
         WHERE ($1 IS NULL OR actor_id = $1 OR subject_id = $1) AND ($2 IS NULL OR org_id = $2) \
         AND ($3 IS NULL OR action = $3) AND ($4 IS NULL OR outcome = $4) \
         AND ($5 IS NULL OR LOWER(actor) LIKE $5 ESCAPE '!' OR LOWER(subject) LIKE $5 ESCAPE '!' \
         OR LOWER(target) LIKE $5 ESCAPE '!' OR ip LIKE $5 ESCAPE '!') \
         AND ($6 IS NULL OR at >= $6) AND ($7 IS NULL OR at < $7) AND ($8 IS NULL OR id < $8) \
         ORDER BY id DESC LIMIT $9",
    )
    .bind(filter.person)
    .bind(filter.org)
    .bind(filter.action.map(|word| word.as_str().to_owned()))
    .bind(filter.outcome.map(|word| word.as_str().to_owned()))
    .bind(text)
    .bind(filter.from)
    .bind(filter.until)
    .bind(before)
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(entry)
    .collect()
}

fn entry(row: &Row) -> Result<AuditEntry, DbError> {
    Ok(AuditEntry {
        id: row.get("id")?,
        at: row.get("at")?,
        action: row.get("action")?,
        outcome: row.get("outcome")?,
        actor_id: row.get("actor_id")?,
        actor: row.get("actor")?,
        subject_id: row.get("subject_id")?,
        subject: row.get("subject")?,
        org_id: row.get("org_id")?,
        method: row.get("method")?,
        target: row.get("target")?,
        ip: row.get("ip")?,
        user_agent: row.get("user_agent")?,
    })
}
