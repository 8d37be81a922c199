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
    let mut wait = RENEWAL;
    loop {
        tokio::select! {
            () = sleep(wait) => {}
            () = async { sleep(REST).await; control.changed(&lease).await } => {}
        }
        let asked = Instant::now();
        let answer = timeout(PATIENCE, control.renew(&lease)).await;
        wait = RENEWAL;
        let now = match answer {
            Ok(Ok(now)) => {
                renewed = asked;
                now
            }
            Ok(Err(ControlError::LeaseLost(_))) => LeaseState::Lost,
            // Nobody renewed it for so long that somebody else may have it.
            _ if renewed.elapsed() >= lifetime => LeaseState::Lost,
            _ => {
                wait = RETRY;
                continue;
            }
        };
        state.send_if_modified(|was| std::mem::replace(was, now) != now);
        if now == LeaseState::Lost {
            return;
        }
    }
}
