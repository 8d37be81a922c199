//! Keeping a lease while the job runs, and noticing when it is gone.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use crate::executor::{ControlError, ControlPlane, LEASE_SECONDS, Lease, LeaseState};

/// How often a lease is renewed: three times before it lapses.
const RENEWAL: Duration = Duration::from_secs(20);
/// How long after a failed renewal the next is tried.
const RETRY: Duration = Duration::from_secs(2);
/// How long the control plane may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The least time between two renewals, whatever happens.
const REST: Duration = Duration::from_millis(200);

/// Renews a lease for as long as it lives.
#[derive(Debug)]
pub(super) struct LeaseKeeper {
    state: watch::Receiver<LeaseState>,
    _task: AbortOnDropHandle<()>,
}

impl LeaseKeeper {
    pub(super) fn new(control: Arc<dyn ControlPlane>, lease: Lease) -> Self {
        let (sender, state) = watch::channel(LeaseState::Held);
        let task = tokio::spawn(keep(control, lease, sender));
        Self { state, _task: AbortOnDropHandle::new(task) }
    }

    /// What is thought of the lease, now and later.
    pub(super) fn watch(&self) -> watch::Receiver<LeaseState> {
        self.state.clone()
    }
}

async fn keep(control: Arc<dyn ControlPlane>, lease: Lease, state: watch::Sender<LeaseState>) {
    let lifetime = Duration::from_secs(LEASE_SECONDS.unsigned_abs());
    let mut renewed = Instant::now();
    loop {
        // Listens before it asks, so that no change between the answer and the
        // wait is missed.
        let mut changed = control.changed(&lease);
        let already = futures::poll!(changed.as_mut()).is_ready();
        let asked = Instant::now();
        let mut wait = RENEWAL;
        let now = match timeout(PATIENCE, control.renew(&lease)).await {
            Ok(Ok(now)) => {
                renewed = asked;
                Some(now)
            }
            Ok(Err(ControlError::LeaseLost(_))) => Some(LeaseState::Lost),
            // Nobody renewed it for so long that somebody else may have it.
            _ if renewed.elapsed() >= lifetime => Some(LeaseState::Lost),
            _ => {
                wait = RETRY;
                None
            }
        };
        if let Some(now) = now {
            state.send_if_modified(|was| std::mem::replace(was, now) != now);
            if now == LeaseState::Lost {
                return;
            }
        }
        if !already {
            tokio::select! {
                () = sleep(wait) => continue,
                () = changed => {}
            }
        }
        sleep(REST).await;
    }
}
