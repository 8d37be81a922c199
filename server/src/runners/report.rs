//! What runners say of themselves while they work, and the executors of the
//! servers themselves, which are runners without a credential: rows like those
//! of others, so that what they have is weighed and shown the same way.

use devenv_cloud_api::ids::RunnerId;
use sha2::{Digest as _, Sha256};

use super::{RunnerError, store};
use crate::{
    app::AppParts,
    db::DbError,
    executor::{Capacity, Room, Status, remote::wire::Report},
};

/// More than any machine has.
const MOST: Room = Room { memory_mib: 1 << 30, cpus: 1 << 16 };

/// The row of this server's executor, made if there is none yet.
///
/// # Errors
/// When the database says no.
pub async fn embedded(app: &AppParts, capacity: &Capacity) -> Result<RunnerId, DbError> {
    match store::find_embedded(&app.db, &key(app)).await? {
        Some(runner) => Ok(runner),
        None => report_embedded(app, capacity, None).await,
    }
}

/// What stands where others have the nonce that they registered with.
fn key(app: &AppParts) -> Vec<u8> {
    Sha256::digest(format!("the executor of {}", app.instance)).to_vec()
}

/// This server's executor says that it is there, and what it has.
///
/// # Errors
/// When the database says no.
pub async fn report_embedded(
    app: &AppParts,
    capacity: &Capacity,
    status: Option<Status>,
) -> Result<RunnerId, DbError> {
    let now = app.clock.now();
    let runner = store::put_embedded(&app.db, RunnerId(app.random.id(now)), capacity, key(app), now).await?;
    if let Some(status) = status {
        store::set_report(&app.db, runner, capacity.room, &status.bounded(), now).await?;
    }
    Ok(runner)
}

/// This server's executor ends, or is not to be.
///
/// # Errors
/// When the database says no.
pub async fn leave_embedded(app: &AppParts) -> Result<(), DbError> {
    match store::find_embedded(&app.db, &key(app)).await? {
        Some(runner) => store::set_left(&app.db, runner, app.clock.now()).await,
        None => Ok(()),
    }
}

/// A runner says what it has.
///
/// # Errors
/// When it makes no sense.
pub async fn report(app: &AppParts, runner: RunnerId, report: Report) -> Result<(), RunnerError> {
    let Report { room, status } = report;
    if !(1..=MOST.memory_mib).contains(&room.memory_mib) || !(1..=MOST.cpus).contains(&room.cpus) {
        return Err(RunnerError::Invalid(format!(
            "a runner has 1 to {} MiB of memory and 1 to {} processors",
            MOST.memory_mib, MOST.cpus
        )));
    }
    Ok(store::set_report(&app.db, runner, room, &status.bounded(), app.clock.now()).await?)
}
