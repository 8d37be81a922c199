//! Sending what was written down. One pass sends one mail; it can be cut off
//! anywhere.

use std::time::Duration;

use chrono::TimeDelta;
use devenv_cloud_api::{Timestamp, ids::MailId};

use super::{
    Content, PURPOSE, store,
    transport::{Letter, Undelivered},
};
use crate::{
    app::{App, AppParts},
    db::Topic,
};

/// How long a mail is ours before somebody else may send it, too: longer than
/// sending can take.
const CLAIM: TimeDelta = TimeDelta::minutes(10);

/// After this time a mail is of no use to anybody.
const LIFE: TimeDelta = TimeDelta::days(2);

/// How long it is remembered that a mail was sent, and to whom.
const REMEMBERED: TimeDelta = TimeDelta::days(30);

/// How often we look without being asked to: for what is due again.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How long the mail server is left alone when it did not take a mail.
const BREATHE: Duration = Duration::from_secs(10);

/// What one pass did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing is due.
    Idle,
    /// A mail is on its way, or in a file.
    Sent,
    /// A mail could not be sent, and will be tried again.
    PutOff,
    /// A mail cannot be sent.
    GaveUp,
}

/// How long to wait after so many attempts.
fn pause(attempts: u32) -> TimeDelta {
    match attempts {
        0 | 1 => TimeDelta::minutes(1),
        2 => TimeDelta::minutes(5),
        3 => TimeDelta::minutes(15),
        4 => TimeDelta::hours(1),
        _ => TimeDelta::hours(4),
    }
}

/// Sends the mail that has been due longest.
///
/// # Errors
/// When the database says no.
pub async fn deliver_once(app: &AppParts) -> anyhow::Result<Delivery> {
    let now = app.clock.now();
    let Some(due) = store::claim(&app.db, now, now + CLAIM).await? else { return Ok(Delivery::Idle) };
    let result = match open(app, &due.content) {
        Ok(Content { name, text, html }) => {
            let letter = Letter {
                id: due.id,
                created_at: due.created_at,
                recipient: &due.recipient,
                name: &name,
                subject: &due.subject,
                text,
                html,
            };
            app.mailer.deliver(letter).await
        }
        // With the right key file it may yet be.
        Err(error) => Err(Undelivered::Later(format!("{error:#}"))),
    };
    settle(app, due.id, due.created_at, due.attempts, result).await
}

fn open(app: &AppParts, sealed: &[u8]) -> anyhow::Result<Content> {
    Ok(serde_json::from_slice(&app.seal.open(PURPOSE, sealed)?)?)
}

async fn settle(
    app: &AppParts,
    mail: MailId,
    created_at: Timestamp,
    attempts: u32,
    result: Result<(), Undelivered>,
) -> anyhow::Result<Delivery> {
    let now = app.clock.now();
    let count = |result: &str| app.metrics.mails.with_label_values(&[result]).inc();
    match result {
        Ok(()) => {
            store::sent(&app.db, mail, app.mailer.writes_files(), now).await?;
            count("sent");
            tracing::info!(%mail, attempts, "mail sent");
            Ok(Delivery::Sent)
        }
        Err(Undelivered::Later(problem)) if now - created_at < LIFE => {
            store::put_off(&app.db, mail, now + pause(attempts), &problem).await?;
            count("put-off");
            tracing::warn!(%mail, attempts, problem, "a mail could not be sent; trying again later");
            Ok(Delivery::PutOff)
        }
        Err(Undelivered::Later(problem) | Undelivered::Never(problem)) => {
            store::give_up(&app.db, mail, now, &problem).await?;
            count("failed");
            tracing::error!(%mail, attempts, problem, "a mail cannot be sent");
            Ok(Delivery::GaveUp)
        }
    }
}

/// Sends what is due until the server stops.
pub async fn drive(app: App) {
    let mut wakeups = app.db.wakeups().subscribe();
    while !app.shutdown.is_cancelled() {
        let wait = match deliver_once(&app).await {
            Ok(Delivery::Sent | Delivery::GaveUp) => continue,
            Ok(Delivery::Idle) => LOOK_EVERY,
            Ok(Delivery::PutOff) => BREATHE,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "cannot look for mail to send");
                LOOK_EVERY
            }
        };
        let woken = async {
            if wait == BREATHE {
                // The same mail server would say the same.
                return std::future::pending().await;
            }
            // One who lags behaves as if woken.
            while !matches!(wakeups.recv().await, Ok(Topic::Mail) | Err(_)) {}
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = woken => {}
            () = app.shutdown.cancelled() => {}
        }
    }
}

/// Forgets which mails were sent long ago. This is housekeeping.
///
/// # Errors
/// When the database says no.
pub async fn delete_old_once(app: &AppParts) -> anyhow::Result<()> {
    for mail in store::delete_old(&app.db, app.clock.now() - REMEMBERED).await? {
        app.mailer.remove(mail).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_two_days_hold_a_dozen_attempts() {
        let pauses: Vec<TimeDelta> = (1..20).map(pause).collect();
        assert!(pauses.is_sorted());
        let mut passed = TimeDelta::zero();
        let tries = pauses.iter().take_while(|pause| {
            passed += **pause;
            passed < LIFE
        });
        assert!((10..20).contains(&tries.count()));
    }
}
