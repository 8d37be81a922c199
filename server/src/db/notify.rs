//! Waking those who wait, instead of polling. In one process a channel is
//! enough; PostgreSQL's LISTEN/NOTIFY carries the news to other processes. A
//! wake-up may be lost (a connection breaks), so whoever waits also looks by
//! itself now and then; see `runs::queue`.

use devenv_cloud_api::ids::{AttemptId, RunId};
use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::broadcast;
use uuid::Uuid;

use super::DbError;

const CHANNEL: &str = "devenv_cloud";

/// What somebody may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// There may be work in the queue.
    Queue,
    /// The queue has moved: something left it, or room was found. There is no new
    /// work in it.
    Moved,
    /// There is mail to send.
    Mail,
    /// A run or one of its jobs changed.
    Run(RunId),
    /// An attempt changed: state, lease, new records.
    Attempt(AttemptId),
}

impl Topic {
    fn encode(self) -> String {
        match self {
            Self::Queue => "queue".to_owned(),
            Self::Moved => "moved".to_owned(),
            Self::Mail => "mail".to_owned(),
            Self::Run(id) => format!("run:{id}"),
            Self::Attempt(id) => format!("attempt:{id}"),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        let id = |text: &str| text.parse::<Uuid>().ok();
        match text.split_once(':') {
            None if text == "queue" => Some(Self::Queue),
            None if text == "moved" => Some(Self::Moved),
            None if text == "mail" => Some(Self::Mail),
            Some(("run", rest)) => id(rest).map(|id| Self::Run(RunId(id))),
            Some(("attempt", rest)) => id(rest).map(|id| Self::Attempt(AttemptId(id))),
            _ => None,
        }
    }
}

/// Where wake-ups come from.
#[derive(Clone, Debug)]
pub struct Wakeups {
    sender: broadcast::Sender<Topic>,
}

impl Wakeups {
    pub(super) fn local() -> Self {
        Self { sender: broadcast::channel(4096).0 }
    }

    /// Also hears what other processes say.
    pub(super) async fn shared(pool: &PgPool) -> Result<Self, DbError> {
        let this = Self::local();
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        let sender = this.sender.downgrade();
        tokio::spawn(async move {
            // `recv` reconnects by itself; it fails only when the pool is closed.
            while let Ok(notification) = listener.recv().await {
                let Some(sender) = sender.upgrade() else { return };
                if let Some(topic) = Topic::decode(notification.payload()) {
                    // Nobody waiting is no error.
                    let _ = sender.send(topic);
                }
            }
        });
        Ok(this)
    }

    /// All wake-ups from now on. A receiver that lags should behave as if it
    /// had been woken.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Topic> {
        self.sender.subscribe()
    }

    pub(super) fn wake_local(&self, topic: Topic) {
        // Nobody waiting is no error.
        let _ = self.sender.send(topic);
    }
}

pub(super) async fn notify(
    tx: &mut sqlx::Transaction<'static, sqlx::Postgres>,
    topic: Topic,
) -> Result<(), DbError> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(topic.encode()).execute(&mut **tx).await?;
    Ok(())
}
