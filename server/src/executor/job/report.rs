//! Records on their way to the control plane: numbered, in order, each stored
//! before the next is sent, and sent again until it is stored.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use crate::{
    executor::{ControlError, ControlPlane, Lease},
    telemetry::Record,
};

/// How long storing may fail before the job is given up.
const PATIENCE: Duration = Duration::from_secs(120);
/// The first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long one try may take.
const TRY: Duration = Duration::from_secs(30);

/// Records of one batch. A runner's message has room for twice as many; a frame
/// can become many more, since a text of the guest is cut into its lines, and so
/// can the end of a job that left everything open.
const BATCH: usize = 4096;

/// Why records could not be stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    /// Somebody else has the job by now.
    #[error("the lease was lost")]
    Lost,
    /// There is no room for the log. No line of it is left to be sent.
    #[error("{0}")]
    NoRoom(String),
    /// It went on for too long.
    #[error("it could not be stored for {} s: {why}", PATIENCE.as_secs())]
    GaveUp {
        /// What was said last.
        why: String,
    },
}

/// The records of an attempt.
pub(super) struct Reporter {
    control: Arc<dyn ControlPlane>,
    lease: Lease,
    /// The sequence number of the first record of the first batch.
    first: u64,
    /// Not known to be stored. A batch that was given up half-way is sent again
    /// as it was, since it may have been stored.
    batches: VecDeque<Vec<Record>>,
}

impl Reporter {
    pub(super) fn new(control: Arc<dyn ControlPlane>, lease: Lease) -> Self {
        Self { control, lease, first: 1, batches: VecDeque::new() }
    }

    /// Notes records for the next [`Reporter::flush`].
    pub(super) fn push(&mut self, records: Vec<Record>) {
        if records.len() <= BATCH {
            if !records.is_empty() {
                self.batches.push_back(records);
            }
            return;
        }
        // Each in memory of its own: a part that is split off would leave the room
        // of the whole behind it.
        let mut records = records.into_iter();
        while records.len() > 0 {
            self.batches.push_back(records.by_ref().take(BATCH).collect());
        }
    }

    /// Stores what was noted. May be given up at any point and called again.
    pub(super) async fn flush(&mut self) -> Result<(), ReportError> {
        while let Some(batch) = self.batches.front() {
            let (control, lease, first) = (&self.control, &self.lease, self.first);
            let count = batch.len() as u64;
            let stored = persist(|| control.append(lease, first, batch.clone())).await;
            if matches!(stored, Err(ReportError::NoRoom(_))) {
                self.forget_lines();
            }
            stored?;
            self.first += count;
            self.batches.pop_front();
        }
        Ok(())
    }

    /// What remains is small: how the job and its parts ended.
    fn forget_lines(&mut self) {
        for batch in &mut self.batches {
            batch.retain(|record| !matches!(record, Record::Line { .. }));
        }
        self.batches.retain(|batch| !batch.is_empty());
    }
}

/// Tries until it works, with growing pauses, for at most [`PATIENCE`].
pub(super) async fn persist<F>(mut action: impl FnMut() -> F) -> Result<(), ReportError>
where
    F: Future<Output = Result<(), ControlError>>,
{
    let began = Instant::now();
    let mut pause = PAUSES.0;
    loop {
        let why = match timeout(TRY, action()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(ControlError::LeaseLost(_))) => return Err(ReportError::Lost),
            Ok(Err(ControlError::NoRoom(full))) => return Err(ReportError::NoRoom(full)),
            Ok(Err(error)) => format!("{:#}", anyhow::Error::from(error)),
            Err(_) => "no answer".to_owned(),
        };
        if began.elapsed() >= PATIENCE {
            return Err(ReportError::GaveUp { why });
        }
        tracing::warn!(why, "cannot report on a job; trying again");
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}
