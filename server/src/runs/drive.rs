//! The background loops. Each is one function that does one pass and can be
//! cut off anywhere; here is only when they are called.

use std::time::Duration;

use super::{ends, store};
use crate::{app::App, db::DbError, forge, telemetry};

/// How often lapsed leases are looked for. A lease lasts a minute, so nobody
/// notices the difference.
const REAP_EVERY: Duration = Duration::from_secs(5);

/// How often refs are compared with the repositories without being asked to:
/// the safety net below the comparison that follows every push.
const RECONCILE_EVERY: Duration = Duration::from_secs(600);

/// How often the telemetry of deleted projects is looked for.
const ORPHANS_EVERY: Duration = Duration::from_secs(3600);

/// Keeps the queue, the refs and the telemetry in order until the server stops.
pub async fn drive(app: App) {
    tokio::join!(
        every(&app, REAP_EVERY, async |app: &App| {
            if let Err(error) = ends::reap_lapsed_leases_once(app).await {
                tracing::error!(error = %error, "cannot look for lapsed leases");
            }
            if let Err(error) = measure_once(app).await {
                tracing::warn!(error = %error, "cannot count the queue");
            }
        }),
        reconcile_refs(&app),
        every(&app, ORPHANS_EVERY, async |app: &App| {
            if let Err(error) = telemetry::remove_orphans_once(app).await {
                tracing::error!(error = %error, "cannot remove the telemetry of deleted projects");
            }
        }),
        every(&app, REAP_EVERY, async |app: &App| {
            while !app.shutdown.is_cancelled() {
                match telemetry::compact_once(app).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::error!(error = format!("{error:#}"), "cannot compact telemetry");
                        break;
                    }
                }
            }
        }),
    );
}

async fn reconcile_refs(app: &App) {
    while !app.shutdown.is_cancelled() {
        if let Err(error) = forge::reconcile_refs_once(app).await {
            tracing::error!(error = %error, "cannot compare refs with the repositories");
        }
        let asked = async {
            app.forge.again.notified().await;
            // Whatever kept the run from being made is seldom over at once.
            tokio::time::sleep(REAP_EVERY).await;
        };
        tokio::select! {
            () = tokio::time::sleep(RECONCILE_EVERY) => {}
            () = asked => {}
            () = app.shutdown.cancelled() => {}
        }
    }
}

async fn measure_once(app: &App) -> Result<(), DbError> {
    let (queued, running) = store::depths(&app.db).await?;
    app.metrics.queued.set(queued);
    app.metrics.running.set(running);
    Ok(())
}

async fn every(app: &App, period: Duration, mut pass: impl AsyncFnMut(&App)) {
    loop {
        pass(app).await;
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = app.shutdown.cancelled() => return,
        }
    }
}
