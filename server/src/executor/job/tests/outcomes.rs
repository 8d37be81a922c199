//! What can happen to a job, and what is said of it: one row for each cause.
//!
//! How a cause is found out is in its row; here the machine and the guest are
//! stand-ins that behave as real ones were seen to. `e2e/specs/outcomes.spec.ts`,
//! `faults.spec.ts` and `failures.spec.ts` do it to real machines.

use chrono::TimeDelta;

use super::{fake::at, *};

/// How the host learns of it.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// QEMU ends, and with it the channel: the kernel or QEMU itself says why.
    Life(fn() -> Exit),
    /// The guest lives, and tells it itself.
    Told(Outcome, Option<i32>, &'static str),
    /// The guest sends what it may not.
    Sent(fn() -> Vec<GuestMessage>),
    /// Nothing comes any more.
    Silence,
    /// The guest lives and never comes to an end.
    Endless,
}

struct Cause {
    name: &'static str,
    seen: Seen,
    state: State,
    sentence: &'static str,
    /// Seconds that pass until the end is reported.
    within: u64,
}

const CAUSES: &[Cause] = &[
    Cause {
        name: "QEMU is killed",
        seen: Seen::Life(|| Exit::Signal(9)),
        state: State::Error,
        sentence: "the machine was killed from outside (signal 9); if nobody did that, the runner is out of memory",
        within: 0,
    },
    Cause {
        name: "QEMU takes more memory than its control group has",
        seen: Seen::Life(|| Exit::OutOfMemory { limit_mib: 4652 }),
        state: State::Error,
        sentence: "the machine took more than 4652 MiB of the runner's memory, which no machine of its size needs, \
                   and was killed for it",
        within: 0,
    },
    Cause {
        name: "QEMU is ended by its sandbox",
        seen: Seen::Life(|| Exit::Signal(31)),
        state: State::Error,
        sentence: "the machine's QEMU died of signal 31",
        within: 0,
    },
    Cause {
        name: "QEMU gives up",
        seen: Seen::Life(|| Exit::Failed { status: 1, words: "no such device".into() }),
        state: State::Error,
        sentence: "the machine's QEMU ended with status 1: no such device",
        within: 0,
    },
    Cause {
        name: "the guest's kernel panics, or its PID 1 ends",
        seen: Seen::Life(|| Exit::Panicked),
        state: State::Error,
        sentence: "the machine's kernel stopped (a panic, or its PID 1 was killed, perhaps for lack of memory)",
        within: 0,
    },
    Cause {
        name: "the guest powers itself off before there is a result",
        seen: Seen::Life(|| Exit::PoweredOff),
        state: State::Error,
        sentence: "the machine powered itself off before it reported a result",
        within: 0,
    },
    Cause {
        name: "the runner's disk is full",
        seen: Seen::Life(|| Exit::HostDiskFull),
        state: State::Error,
        sentence: "the runner's disk is full, so the machine could not write: free some space",
        within: 0,
    },
    Cause {
        name: "a task takes all of the machine's memory",
        seen: Seen::Told(
            Outcome::Failure,
            Some(137),
            "task app:test ran out of memory (the limit is 1920 MiB)",
        ),
        state: State::Failure,
        sentence: "task app:test ran out of memory (the limit is 1920 MiB)",
        within: 0,
    },
    Cause {
        name: "a task fills the machine's disk, or makes too many processes",
        seen: Seen::Told(Outcome::Failure, Some(1), "task app:test failed with exit status 1"),
        state: State::Failure,
        sentence: "task app:test failed with exit status 1",
        within: 0,
    },
    Cause {
        name: "a job floods its log, and its guest does not stop it",
        seen: Seen::Sent(|| {
            let frame = |n: u64| GuestMessage::Records {
                first: 3 + n * 10,
                records: (0..10).map(|_| said(1, &"x".repeat(16_000))).collect(),
            };
            (0..20).map(frame).collect()
        }),
        state: State::Error,
        sentence: "the machine broke the protocol: it sent more log than it may",
        within: 0,
    },
    Cause {
        name: "the guest hangs, QEMU is stopped, or the host cannot run it",
        seen: Seen::Silence,
        state: State::Error,
        sentence: "the machine said nothing for 60 s",
        within: 60,
    },
    Cause {
        name: "a job does not end",
        seen: Seen::Endless,
        state: State::Timeout,
        sentence: "the job took longer than it may (10 min)",
        within: 615,
    },
];

#[tokio::test(start_paused = true)]
async fn every_cause_has_its_state_and_its_sentence_in_bounded_time() {
    for Cause { name, seen, state, sentence, within } in CAUSES {
        let mut scene = Scene::new();
        scene.assignment.limits.timeout_seconds = 600;
        if let Seen::Life(exit) = seen {
            scene.host.exit = Some(exit());
        }
        let began = Instant::now();
        let played = scene
            .play(move |mut guest: Guest| async move {
                guest.take_job().await;
                guest.records(1, vec![opened(1), said(1, "last line")]).await;
                match seen {
                    Seen::Life(_) => {}
                    Seen::Told(outcome, status, reason) => guest.finish(*outcome, *status, reason).await,
                    Seen::Sent(messages) => {
                        for message in messages() {
                            guest.send(&message).await;
                        }
                        guest.until_hung_up().await;
                    }
                    Seen::Silence => guest.until_hung_up().await,
                    Seen::Endless => guest.live_until_hung_up().await,
                }
            })
            .await;
        assert_eq!(played.end(), (*state, *sentence), "{name}");
        assert_eq!(began.elapsed().as_secs(), *within, "{name}");
        // What was said before is kept, and no span stays open.
        let kept =
            played.records.iter().any(|r| matches!(r, Record::Line { text, .. } if text == "last line"));
        assert!(kept, "{name}");
        let ends = ends(&played);
        assert!(ends.contains(&(1, *state)) && ends.contains(&(JOB_SPAN.0, *state)), "{name}: {ends:?}");
        assert!(played.killed || matches!(seen, Seen::Life(_)), "{name}: nothing of it is left");
    }
}

/// The host's time of day may jump, as when somebody sets it or the host was
/// suspended: what has to end in time is counted by a clock that does not.
#[tokio::test(start_paused = true)]
async fn a_jump_of_the_hosts_clock_neither_ends_a_job_nor_makes_it_endless() {
    for jump in [TimeDelta::days(400), TimeDelta::seconds(-90)] {
        for endless in [false, true] {
            let mut scene = Scene::new();
            scene.assignment.limits.timeout_seconds = 120;
            let clock = scene.clock.clone();
            let began = Instant::now();
            let played = scene
                .play(move |mut guest: Guest| async move {
                    guest.take_job().await;
                    guest.records(1, vec![opened(1), said(1, "before")]).await;
                    clock.advance(jump);
                    guest.records(3, vec![said(1, "after")]).await;
                    // Longer than the silence that ends a job, and than a lease.
                    for _ in 0..9 {
                        sleep(Duration::from_secs(10)).await;
                        guest.send(&GuestMessage::Alive).await;
                    }
                    if endless {
                        guest.live_until_hung_up().await;
                    } else {
                        guest.records(4, vec![closed(1)]).await;
                        guest.finish(Outcome::Success, Some(0), "").await;
                    }
                })
                .await;
            let (state, seconds) = if endless { (State::Timeout, 135) } else { (State::Success, 90) };
            assert_eq!(played.end().0, state, "{jump}");
            assert_eq!(began.elapsed().as_secs(), seconds, "{jump}");
            sane(&played);
        }
    }
}

/// Whatever time a guest believes it is, no span ends before it begins, and
/// nothing happens before the job or after now.
#[tokio::test(start_paused = true)]
async fn a_guest_that_lives_at_another_time_does_not_spoil_the_trace() {
    let hour = 3_600_000_000_000;
    for time in [0, 1, 99_000_000_000, 100 * hour, u64::MAX / 2, u64::MAX] {
        let played = Scene::new()
            .play(move |mut guest: Guest| async move {
                guest.take_job().await;
                let Said::SpanOpened { id, parent, kind, stage, name, attributes, .. } = opened(1) else {
                    return;
                };
                let open = Said::SpanOpened { id, parent, kind, stage, name, attributes, time };
                let line = Said::Line { span: 1, stream: protocol::Stream::Stdout, time, text: "x".into() };
                // It ends before it began.
                let close = Said::SpanClosed {
                    id: 1,
                    time: time.saturating_sub(hour),
                    outcome: Outcome::Success,
                    attributes: vec![],
                };
                guest.records(1, vec![open, line, close]).await;
                guest.finish(Outcome::Success, Some(0), "").await;
            })
            .await;
        assert_eq!(played.end().0, State::Success, "{time}");
        sane(&played);
    }
}

/// Suspended for long enough, a host has lost its lease when it wakes up: then
/// the job is somebody else's, and nothing is reported.
#[tokio::test(start_paused = true)]
async fn a_host_that_was_suspended_reports_nothing_of_what_is_no_more_its_own() {
    let scene = Scene::new();
    let (clock, control) = (scene.clock.clone(), scene.control.clone());
    let began = Instant::now();
    let played = scene
        .play(move |mut guest: Guest| async move {
            guest.take_job().await;
            // No time passes for anybody on it, but for all others.
            clock.advance(TimeDelta::hours(8));
            control.state.send_replace(LeaseState::Lost);
            guest.finish(Outcome::Success, Some(0), "").await;
            guest.until_hung_up().await;
        })
        .await;
    assert!(played.conclusion.is_none(), "{:?}", played.conclusion);
    assert!(played.killed);
    assert!(began.elapsed().as_secs() <= 1);
}

#[track_caller]
fn sane(played: &Played) {
    let mut opened_at = std::collections::HashMap::new();
    for record in &played.records {
        match record {
            Record::Opened { id, parent, time, .. } => {
                assert!(*id == JOB_SPAN || parent.is_some());
                opened_at.insert(id.0, *time);
            }
            Record::Closed { id, time, .. } => {
                assert!(*time >= opened_at[&id.0] && *time <= at(300), "{record:?}");
            }
            Record::Line { time, .. } => assert!(*time >= at(100) && *time <= at(300), "{record:?}"),
            _ => {}
        }
    }
}
