//! The SQL of runners, their registration tokens and credentials.

use devenv_cloud_api::{
    Timestamp,
    ids::{OrgId, RunnerId, RunnerTokenId},
    names::Slug,
    runners::{RunnerJob, RunnerToken},
};

use crate::{
    db::{Db, DbError, Row, Tx, query},
    executor::{Capacity, Room, Status, remote::wire::Announcement},
    identity::RunnerPrincipal,
};

/// Words as they stand in a column: between commas, with one at each end.
fn joined(words: &[String]) -> String {
    let mut text = String::from(",");
    for word in words {
        text.push_str(word);
        text.push(',');
    }
    text
}

fn split(text: &str) -> Vec<String> {
    text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

pub(super) async fn insert_token(
    tx: &mut Tx,
    org: Option<OrgId>,
    token: &RunnerToken,
    secret_hash: Vec<u8>,
) -> Result<(), DbError> {
    query(
        "INSERT INTO runner_tokens (id, org_id, prefix, secret_hash, created_by, created_at, expires_at, uses, used) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)",
    )
    .bind(token.id)
    .bind(org)
    .bind(&token.prefix)
    .bind(secret_hash)
    .bind(&token.created_by)
    .bind(token.created_at)
    .bind(token.expires_at)
    .bind(token.uses)
    .execute(tx)
    .await
    .map(|_| ())
}

pub(super) async fn list_tokens(
    db: &Db,
    org: Option<OrgId>,
    now: Timestamp,
    before: Option<RunnerTokenId>,
    limit: u32,
) -> Result<Vec<RunnerToken>, DbError> {
    query(
        "SELECT * FROM runner_tokens WHERE (org_id = $1 OR ($1 IS NULL AND org_id IS NULL)) \
         AND revoked_at IS NULL AND expires_at > $2 AND used < uses AND ($3 IS NULL OR id < $3) \
         ORDER BY id DESC LIMIT $4",
    )
    .bind(org)
    .bind(now)
    .bind(before)
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(|row| {
        Ok(RunnerToken {
            id: row.get("id")?,
            prefix: row.get("prefix")?,
            created_by: row.get("created_by")?,
            created_at: row.get("created_at")?,
            expires_at: row.get("expires_at")?,
            uses: row.get("uses")?,
            used: row.get("used")?,
        })
    })
    .collect()
}

/// Revokes a token; what its secret begins with, if there was one.
pub(super) async fn revoke_token(
    tx: &mut Tx,
    org: Option<OrgId>,
    id: RunnerTokenId,
    now: Timestamp,
) -> Result<Option<String>, DbError> {
    query(
        "UPDATE runner_tokens SET revoked_at = $3 WHERE id = $1 \
         AND (org_id = $2 OR ($2 IS NULL AND org_id IS NULL)) AND revoked_at IS NULL RETURNING prefix",
    )
    .bind(id)
    .bind(org)
    .bind(now)
    .optional(tx)
    .await?
    .map(|row| row.get("prefix"))
    .transpose()
}

/// A registration token, as far as registering needs it.
pub(super) struct KnownToken {
    pub(super) id: RunnerTokenId,
    pub(super) org: Option<OrgId>,
    pub(super) expires_at: Timestamp,
    pub(super) revoked: bool,
}

/// The token with this secret, locked until the transaction ends.
pub(super) async fn lock_token(tx: &mut Tx, secret_hash: Vec<u8>) -> Result<Option<KnownToken>, DbError> {
    query(
        "UPDATE runner_tokens SET used = used WHERE secret_hash = $1 RETURNING id, org_id, expires_at, revoked_at",
    )
    .bind(secret_hash)
    .optional(tx)
    .await?
    .map(|row| {
        Ok(KnownToken {
            id: row.get("id")?,
            org: row.get("org_id")?,
            expires_at: row.get("expires_at")?,
            revoked: row.get::<Option<Timestamp>>("revoked_at")?.is_some(),
        })
    })
    .transpose()
}

/// Uses a token once more, if it is not used up.
pub(super) async fn use_token(tx: &mut Tx, id: RunnerTokenId) -> Result<bool, DbError> {
    let changed = query("UPDATE runner_tokens SET used = used + 1 WHERE id = $1 AND used < uses")
        .bind(id)
        .execute(tx)
        .await?;
    Ok(changed == 1)
}

/// The runner that registered with this nonce, its organisation, and whether it was revoked.
pub(super) async fn find_by_nonce(
    tx: &mut Tx,
    nonce_hash: &[u8],
) -> Result<Option<(RunnerId, Option<OrgId>, bool)>, DbError> {
    query("SELECT id, org_id, revoked_at FROM runners WHERE nonce_hash = $1")
        .bind(nonce_hash)
        .optional(tx)
        .await?
        .map(|row| {
            let revoked = row.get::<Option<Timestamp>>("revoked_at")?.is_some();
            Ok((row.get("id")?, row.get("org_id")?, revoked))
        })
        .transpose()
}

pub(super) async fn insert_runner(
    tx: &mut Tx,
    id: RunnerId,
    org: Option<OrgId>,
    announcement: &Announcement,
    nonce_hash: Vec<u8>,
    now: Timestamp,
) -> Result<(), DbError> {
    query(
        "INSERT INTO runners (id, org_id, name, labels, platforms, slots, version, nonce_hash, created_at, \
         last_seen_at, draining) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10)",
    )
    .bind(id)
    .bind(org)
    .bind(&announcement.name)
    .bind(joined(&announcement.labels))
    .bind(joined(&announcement.platforms))
    .bind(announcement.slots)
    .bind(&announcement.version)
    .bind(nonce_hash)
    .bind(now)
    .bind(false)
    .execute(tx)
    .await
    .map(|_| ())
}

/// Writes down what a runner says of itself.
pub(super) async fn announce(
    db: &Db,
    id: RunnerId,
    announcement: &Announcement,
    now: Timestamp,
) -> Result<(), DbError> {
    query(
        "UPDATE runners SET name = $2, labels = $3, platforms = $4, slots = $5, version = $6, last_seen_at = $7, \
         left_at = NULL WHERE id = $1",
    )
    .bind(id)
    .bind(&announcement.name)
    .bind(joined(&announcement.labels))
    .bind(joined(&announcement.platforms))
    .bind(announcement.slots)
    .bind(&announcement.version)
    .bind(now)
    .execute(db)
    .await
    .map(|_| ())
}

pub(super) async fn touch(db: &Db, id: RunnerId, now: Timestamp) -> Result<(), DbError> {
    query("UPDATE runners SET last_seen_at = $2, left_at = NULL WHERE id = $1")
        .bind(id)
        .bind(now)
        .execute(db)
        .await
        .map(|_| ())
}

pub(super) async fn set_left(db: &Db, id: RunnerId, now: Timestamp) -> Result<(), DbError> {
    query("UPDATE runners SET left_at = $2 WHERE id = $1").bind(id).bind(now).execute(db).await.map(|_| ())
}

/// The runner that is the executor of the server with this key.
pub(super) async fn find_embedded(db: &Db, key: &[u8]) -> Result<Option<RunnerId>, DbError> {
    query("SELECT id FROM runners WHERE nonce_hash = $1 AND embedded AND revoked_at IS NULL")
        .bind(key)
        .optional(db)
        .await?
        .map(|row| row.get("id"))
        .transpose()
}

/// Makes the row of a server's executor, or writes into it what is true now.
pub(super) async fn put_embedded(
    db: &Db,
    id: RunnerId,
    capacity: &Capacity,
    key: Vec<u8>,
    now: Timestamp,
) -> Result<RunnerId, DbError> {
    query(
        "INSERT INTO runners (id, org_id, name, labels, platforms, slots, version, nonce_hash, created_at, \
         last_seen_at, draining, embedded, memory_mib, cpus) \
         VALUES ($1, NULL, $2, ',', $3, $4, $5, $6, $7, $7, $8, $9, $10, $11) \
         ON CONFLICT (nonce_hash) DO UPDATE SET name = excluded.name, platforms = excluded.platforms, \
         slots = excluded.slots, version = excluded.version, last_seen_at = excluded.last_seen_at, \
         left_at = NULL, revoked_at = NULL, memory_mib = excluded.memory_mib, cpus = excluded.cpus RETURNING id",
    )
    .bind(id)
    .bind(&capacity.host)
    .bind(joined(&capacity.platforms))
    .bind(capacity.slots)
    .bind(env!("CARGO_PKG_VERSION"))
    .bind(key)
    .bind(now)
    .bind(false)
    .bind(true)
    .bind(capacity.room.memory_mib)
    .bind(capacity.room.cpus)
    .one(db)
    .await?
    .get("id")
}

/// Writes down what a runner says that it has, and what stands ready.
pub(super) async fn set_report(
    db: &Db,
    id: RunnerId,
    room: Room,
    status: &Status,
    now: Timestamp,
) -> Result<(), DbError> {
    query(
        "UPDATE runners SET memory_mib = $2, cpus = $3, status = $4, status_at = $5, last_seen_at = $5, \
         left_at = NULL WHERE id = $1",
    )
    .bind(id)
    .bind(room.memory_mib)
    .bind(room.cpus)
    .bind(serde_json::to_string(status).unwrap_or_default())
    .bind(now)
    .execute(db)
    .await
    .map(|_| ())
}

/// Locks a runner until the transaction ends.
pub(super) async fn lock(tx: &mut Tx, id: RunnerId) -> Result<(), DbError> {
    query("UPDATE runners SET slots = slots WHERE id = $1").bind(id).execute(tx).await.map(|_| ())
}

/// A credential that somebody showed.
pub(super) struct KnownCredential {
    pub(super) principal: RunnerPrincipal,
    pub(super) expires_at: Timestamp,
    pub(super) last_seen_at: Timestamp,
    pub(super) left: bool,
    pub(super) revoked: bool,
}

pub(super) async fn find_credential(
    db: &Db,
    secret_hash: Vec<u8>,
) -> Result<Option<KnownCredential>, DbError> {
    query(
        "SELECT r.id, r.org_id, r.name, r.last_seen_at, r.left_at, r.revoked_at, c.expires_at \
         FROM runner_credentials c JOIN runners r ON r.id = c.runner_id WHERE c.secret_hash = $1",
    )
    .bind(secret_hash)
    .optional(db)
    .await?
    .map(|row| {
        Ok(KnownCredential {
            principal: RunnerPrincipal {
                runner: row.get("id")?,
                name: row.get("name")?,
                org: row.get("org_id")?,
            },
            expires_at: row.get("expires_at")?,
            last_seen_at: row.get("last_seen_at")?,
            left: row.get::<Option<Timestamp>>("left_at")?.is_some(),
            revoked: row.get::<Option<Timestamp>>("revoked_at")?.is_some(),
        })
    })
    .transpose()
}

pub(super) async fn insert_credential(
    tx: &mut Tx,
    runner: RunnerId,
    secret_hash: Vec<u8>,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), DbError> {
    query(
        "INSERT INTO runner_credentials (secret_hash, runner_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
    )
    .bind(secret_hash)
    .bind(runner)
    .bind(now)
    .bind(expires_at)
    .execute(tx)
    .await
    .map(|_| ())
}

/// Forgets a runner's credentials but this one. `false` if this one is none of them any more.
pub(super) async fn forget_other_credentials(
    tx: &mut Tx,
    runner: RunnerId,
    kept: &[u8],
) -> Result<bool, DbError> {
    query("DELETE FROM runner_credentials WHERE runner_id = $1 AND secret_hash <> $2")
        .bind(runner)
        .bind(kept)
        .execute(&mut *tx)
        .await?;
    let left = query("SELECT 1 AS one FROM runner_credentials WHERE runner_id = $1 AND secret_hash = $2")
        .bind(runner)
        .bind(kept)
        .optional(tx)
        .await?;
    Ok(left.is_some())
}

pub(super) async fn forget_credentials(tx: &mut Tx, runner: RunnerId) -> Result<(), DbError> {
    query("DELETE FROM runner_credentials WHERE runner_id = $1").bind(runner).execute(tx).await.map(|_| ())
}

/// A runner as it is stored.
pub(super) struct RunnerRow {
    pub(super) id: RunnerId,
    pub(super) org: Option<OrgId>,
    pub(super) name: String,
    pub(super) labels: Vec<String>,
    pub(super) platforms: Vec<String>,
    pub(super) slots: u32,
    pub(super) version: String,
    pub(super) created_at: Timestamp,
    pub(super) last_seen_at: Timestamp,
    pub(super) left_at: Option<Timestamp>,
    pub(super) draining: bool,
    pub(super) last_error: Option<String>,
    pub(super) last_error_at: Option<Timestamp>,
    pub(super) embedded: bool,
    /// What its machines may have together, if it says so.
    pub(super) room: Option<Room>,
    /// MiB and processors that they have.
    pub(super) used: (u32, u32),
    /// What stood ready, and when it said so.
    pub(super) status: Status,
    pub(super) status_at: Option<Timestamp>,
}

fn runner(row: &Row) -> Result<RunnerRow, DbError> {
    Ok(RunnerRow {
        id: row.get("id")?,
        org: row.get("org_id")?,
        name: row.get("name")?,
        labels: split(&row.get::<String>("labels")?),
        platforms: split(&row.get::<String>("platforms")?),
        slots: row.get("slots")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
        last_seen_at: row.get("last_seen_at")?,
        left_at: row.get("left_at")?,
        draining: row.get("draining")?,
        last_error: row.get("last_error")?,
        last_error_at: row.get("last_error_at")?,
        embedded: row.get("embedded")?,
        room: row
            .get::<Option<u32>>("memory_mib")?
            .zip(row.get::<Option<u32>>("cpus")?)
            .map(|(memory_mib, cpus)| Room { memory_mib, cpus }),
        used: (row.get("memory_used")?, row.get("cpus_used")?),
        // What another version wrote is not worth an error.
        status: row
            .get::<Option<String>>("status")?
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default(),
        status_at: row.get("status_at")?,
    })
}

/// The runners of an organisation and then those of the instance, or the
/// latter alone, oldest first. `after` is the last one of the page before:
/// whether it is the instance's, and its id.
pub(super) async fn list_runners(
    db: &Db,
    org: Option<OrgId>,
    after: Option<(bool, RunnerId)>,
    limit: u32,
) -> Result<Vec<RunnerRow>, DbError> {
    let (of_instance, id) = after.map_or((false, None), |(of_instance, id)| (of_instance, Some(id)));
    query(
        "SELECT runners.*, \
         (SELECT CAST(COALESCE(SUM(a.memory_mib), 0) AS BIGINT) FROM attempts a \
          WHERE a.runner_id = runners.id AND a.state = 'running') AS memory_used, \
         (SELECT CAST(COALESCE(SUM(a.cpus), 0) AS BIGINT) FROM attempts a \
          WHERE a.runner_id = runners.id AND a.state = 'running') AS cpus_used \
         FROM runners WHERE revoked_at IS NULL AND (org_id IS NULL OR org_id = $1) \
         AND ($2 IS NULL OR (CASE WHEN org_id IS NULL THEN 1 ELSE 0 END) > $3 \
              OR ((CASE WHEN org_id IS NULL THEN 1 ELSE 0 END) = $3 AND id > $2)) \
         ORDER BY CASE WHEN org_id IS NULL THEN 1 ELSE 0 END, id LIMIT $4",
    )
    .bind(org)
    .bind(id)
    .bind(i64::from(of_instance))
    .bind(limit)
    .all(db)
    .await?
    .iter()
    .map(runner)
    .collect()
}

/// What runners execute now, of one organisation's jobs or of all.
pub(super) async fn jobs_of_runners(
    db: &Db,
    org: Option<OrgId>,
) -> Result<Vec<(RunnerId, RunnerJob)>, DbError> {
    query(
        "SELECT a.runner_id, o.slug AS org, p.slug AS project, r.number, j.name, a.started_at FROM attempts a \
         JOIN jobs j ON j.id = a.job_id JOIN runs r ON r.id = j.run_id JOIN projects p ON p.id = r.project_id \
         JOIN orgs o ON o.id = p.org_id WHERE a.state = 'running' AND a.runner_id IS NOT NULL \
         AND ($1 IS NULL OR p.org_id = $1) ORDER BY a.started_at, a.id LIMIT 1000",
    )
    .bind(org)
    .all(db)
    .await?
    .iter()
    .map(|row| {
        let job = RunnerJob {
            org: row.get("org")?,
            project: row.get("project")?,
            run: row.get("number")?,
            job: row.get("name")?,
            started_at: row.get("started_at")?,
        };
        Ok((row.get("runner_id")?, job))
    })
    .collect()
}

/// Whether there is such a runner. Nothing is changed if nothing is given.
pub(super) async fn set_draining(
    tx: &mut Tx,
    org: Option<OrgId>,
    id: RunnerId,
    draining: Option<bool>,
) -> Result<bool, DbError> {
    let changed = query(
        "UPDATE runners SET draining = COALESCE($3, draining) WHERE id = $1 \
         AND (org_id = $2 OR ($2 IS NULL AND org_id IS NULL)) AND revoked_at IS NULL",
    )
    .bind(id)
    .bind(org)
    .bind(draining)
    .execute(tx)
    .await?;
    Ok(changed == 1)
}

/// Revokes a runner; its name, if there was one. The executor of a server that is
/// there cannot be revoked.
pub(super) async fn revoke_runner(
    tx: &mut Tx,
    org: Option<OrgId>,
    id: RunnerId,
    now: Timestamp,
    silence: Timestamp,
) -> Result<Option<String>, DbError> {
    query(
        "UPDATE runners SET revoked_at = $3 WHERE id = $1 \
         AND (org_id = $2 OR ($2 IS NULL AND org_id IS NULL)) AND revoked_at IS NULL \
         AND (NOT embedded OR left_at IS NOT NULL OR last_seen_at <= $4) RETURNING name",
    )
    .bind(id)
    .bind(org)
    .bind(now)
    .bind(silence)
    .optional(tx)
    .await?
    .map(|row| row.get("name"))
    .transpose()
}

pub(super) async fn slug_of(db: &Db, org: OrgId) -> Result<Option<Slug>, DbError> {
    query("SELECT slug FROM orgs WHERE id = $1")
        .bind(org)
        .optional(db)
        .await?
        .map(|row| row.get("slug"))
        .transpose()
}
