//! The SQL of mail.

use devenv_cloud_api::{
    Timestamp,
    ids::MailId,
    mail::{Mail, MailState},
};

use crate::db::{Db, DbError, Row, Target, query};

pub(super) async fn insert(
    target: impl Into<Target<'_>>,
    id: MailId,
    recipient: &str,
    subject: &str,
    content: &[u8],
    now: Timestamp,
) -> Result<(), DbError> {
    query(
        "INSERT INTO mails (id, recipient, subject, content, created_at, due_at, attempts, written) \
         VALUES ($1, $2, $3, $4, $5, $5, 0, $6)",
    )
    .bind(id)
    .bind(recipient)
    .bind(subject)
    .bind(content)
    .bind(now)
    .bind(false)
    .execute(target)
    .await
    .map(|_| ())
}

/// A mail that is to be sent.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) id: MailId,
    pub(super) recipient: String,
    pub(super) subject: String,
    pub(super) content: Vec<u8>,
    pub(super) created_at: Timestamp,
    /// How often it was tried, this time included.
    pub(super) attempts: u32,
}

/// Claims the mail that has been due longest, until `until`.
pub(super) async fn claim(db: &Db, now: Timestamp, until: Timestamp) -> Result<Option<Due>, DbError> {
    loop {
        let next = query(
            "SELECT id, due_at FROM mails WHERE due_at <= $1 AND content IS NOT NULL \
             ORDER BY due_at, id LIMIT 1",
        )
        .bind(now)
        .optional(db)
        .await?;
        let Some(next) = next else { return Ok(None) };
        // Whoever else saw it claims it by the same rule; one of us does.
        let claimed = query(
            "UPDATE mails SET due_at = $3, attempts = attempts + 1 \
             WHERE id = $1 AND due_at = $2 AND content IS NOT NULL \
             RETURNING id, recipient, subject, content, created_at, attempts",
        )
        .bind(next.get::<MailId>("id")?)
        .bind(next.get::<Timestamp>("due_at")?)
        .bind(until)
        .optional(db)
        .await?;
        if let Some(row) = claimed {
            return Ok(Some(Due {
                id: row.get("id")?,
                recipient: row.get("recipient")?,
                subject: row.get("subject")?,
                content: row.get("content")?,
                created_at: row.get("created_at")?,
                attempts: row.get("attempts")?,
            }));
        }
    }
}

/// It is sent, or written to a file; its text is forgotten.
pub(super) async fn sent(db: &Db, id: MailId, written: bool, now: Timestamp) -> Result<(), DbError> {
    query("UPDATE mails SET sent_at = $2, written = $3, content = NULL, problem = NULL WHERE id = $1")
        .bind(id)
        .bind(now)
        .bind(written)
        .execute(db)
        .await
        .map(|_| ())
}

/// It could not be sent, and is due again later.
pub(super) async fn put_off(db: &Db, id: MailId, until: Timestamp, problem: &str) -> Result<(), DbError> {
    query("UPDATE mails SET due_at = $2, problem = $3 WHERE id = $1 AND content IS NOT NULL")
        .bind(id)
        .bind(until)
        .bind(problem)
        .execute(db)
        .await
        .map(|_| ())
}

/// It cannot be sent; its text is forgotten.
pub(super) async fn give_up(db: &Db, id: MailId, now: Timestamp, problem: &str) -> Result<(), DbError> {
    query("UPDATE mails SET gave_up_at = $2, problem = $3, content = NULL WHERE id = $1")
        .bind(id)
        .bind(now)
        .bind(problem)
        .execute(db)
        .await
        .map(|_| ())
}

/// A mail, with what only this server needs to know of it.
#[derive(Debug)]
pub(super) struct MailRow {
    pub(super) recipient: String,
    pub(super) subject: String,
    pub(super) written: bool,
}

pub(super) async fn find(db: &Db, id: MailId) -> Result<Option<MailRow>, DbError> {
    query("SELECT recipient, subject, written FROM mails WHERE id = $1")
        .bind(id)
        .optional(db)
        .await?
        .map(|row| {
            Ok(MailRow {
                recipient: row.get("recipient")?,
                subject: row.get("subject")?,
                written: row.get("written")?,
            })
        })
        .transpose()
}

pub(super) async fn list(db: &Db, before: Option<MailId>, limit: u32) -> Result<Vec<Mail>, DbError> {
    query(
        "SELECT id, recipient, subject, created_at, attempts, sent_at, gave_up_at, written, problem \
         FROM mails WHERE $1 IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",
    )
    .bind(before)
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(mail)
    .collect()
}

fn mail(row: &Row) -> Result<Mail, DbError> {
    let sent_at: Option<Timestamp> = row.get("sent_at")?;
    let gave_up_at: Option<Timestamp> = row.get("gave_up_at")?;
    let state = match (sent_at, gave_up_at) {
        (Some(_), _) if row.get("written")? => MailState::Written,
        (Some(_), _) => MailState::Sent,
        (None, Some(_)) => MailState::Failed,
        (None, None) => MailState::Waiting,
    };
    Ok(Mail {
        id: row.get("id")?,
        recipient: row.get("recipient")?,
        subject: row.get("subject")?,
        state,
        created_at: row.get("created_at")?,
        sent_at,
        attempts: row.get("attempts")?,
        problem: row.get("problem")?,
    })
}

/// What was sent, or given up, before `then` is forgotten altogether. Says which
/// of it lies in files.
pub(super) async fn delete_old(db: &Db, then: Timestamp) -> Result<Vec<MailId>, DbError> {
    let rows = query("DELETE FROM mails WHERE content IS NULL AND created_at < $1 RETURNING id, written")
        .bind(then)
        .all(db)
        .await?;
    let mut written = Vec::new();
    for row in rows {
        if row.get("written")? {
            written.push(row.get("id")?);
        }
    }
    Ok(written)
}
