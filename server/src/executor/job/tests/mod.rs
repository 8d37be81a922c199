//! Jobs against a guest that does what it should not.

pub(crate) mod fake;
mod network;
mod outcomes;

use std::{sync::atomic::Ordering, time::Duration};

use devenv_cloud_api::{runs::State, trace::Stream};
use devenv_cloud_guest::protocol::{
    self, GuestMessage, HostMessage, Outcome, Record as Said, SpanKind as Kind, Stage as GuestStage, limits,
};
use tokio::time::{Instant, sleep, timeout};

use self::fake::{CHANNEL, Guest, Played, Scene};
use super::{MACHINE_SPAN, TEARDOWN_SPAN};
use crate::{
    executor::{LeaseState, machine::Exit},
    telemetry::{JOB_SPAN, Record},
};

fn opened(id: u64) -> Said {
    Said::SpanOpened {
        id,
        parent: None,
        kind: Kind::Task,
        stage: Some(GuestStage::Task),
        name: "app:test".into(),
        time: 0,
        attributes: vec![],
    }
}

fn said(span: u64, text: &str) -> Said {
    Said::Line { span, stream: protocol::Stream::Stdout, time: 0, text: text.into() }
}

fn closed(id: u64) -> Said {
    Said::SpanClosed { id, time: 0, outcome: Outcome::Success, attributes: vec![] }
}

/// The state in which each span was closed; every span that was opened was.
fn ends(played: &Played) -> Vec<(u64, State)> {
    let mut open = Vec::new();
    let mut ends = Vec::new();
    for record in &played.records {
        match record {
            Record::Opened { id, .. } => open.push(id.0),
            Record::Closed { id, state, .. } => {
                let index =
                    open.iter().position(|open| *open == id.0).expect("closed once, after it was opened");
                open.remove(index);
                ends.push((id.0, *state));
            }
            _ => {}
        }
    }
    assert_eq!(open, [0_u64; 0], "spans left open");
    ends
}

#[tokio::test(start_paused = true)]
async fn a_job_that_succeeds_is_reported_with_everything() {
    let scene = Scene::new();
    *scene.control.source.lock().unwrap() = vec![Ok(vec![1; 600_000].into()), Ok(vec![2; 3].into())];
    let played = scene
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            assert_eq!(guest.job.as_ref().unwrap().commit, "c0ffee");
            assert_eq!(guest.source.len(), 600_003);
            guest.records(1, vec![opened(1), said(1, "hello")]).await;
            assert_eq!(guest.receive().await, Some(HostMessage::Acknowledge(2)));
            guest.send(&GuestMessage::Alive).await;
            guest.records(3, vec![closed(1)]).await;
            assert_eq!(guest.receive().await, Some(HostMessage::Acknowledge(3)));
            guest.finish(Outcome::Success, Some(0), "").await;
        })
        .await;
    let conclusion = played.conclusion.clone().unwrap();
    assert_eq!(
        (conclusion.state, conclusion.reason, conclusion.exit_status),
        (State::Success, None, Some(0))
    );
    assert!(played.killed, "nothing of it is left");
    let ends = ends(&played);
    assert!(ends.iter().all(|(_, state)| *state == State::Success), "{ends:?}");
    assert_eq!(ends.last(), Some(&(JOB_SPAN.0, State::Success)));
    assert!(ends.contains(&(TEARDOWN_SPAN.0, State::Success)));
    let line = played
        .records
        .iter()
        .any(|r| matches!(r, Record::Line { text, stream: Stream::Stdout, .. } if text == "hello"));
    assert!(line, "{:?}", played.records);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_the_guests_word_with_its_reason() {
    let played = Scene::new()
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            guest.records(1, vec![opened(1)]).await;
            guest.finish(Outcome::Failure, Some(3), "task app:test failed\0").await;
        })
        .await;
    assert_eq!(played.end(), (State::Failure, "task app:test failed\u{fffd}"));
    assert_eq!(played.conclusion.as_ref().unwrap().exit_status, Some(3));
    assert!(ends(&played).contains(&(1, State::Failure)), "what was open ends as the job did");
}

#[tokio::test(start_paused = true)]
async fn success_needs_an_exit_status_of_zero() {
    for status in [None, Some(1), Some(-1)] {
        let played = Scene::new()
            .play(move |mut guest: Guest| async move {
                guest.take_job().await;
                guest.finish(Outcome::Success, status, "").await;
            })
            .await;
        assert_eq!(played.end().0, State::Error, "{status:?}");
    }
}

/// Whatever a guest sends that it must not send ends its job with a sentence,
/// and its machine.
#[tokio::test(start_paused = true)]
async fn forged_frames_end_the_job() {
    let frame = |message: &GuestMessage| protocol::encode(message).unwrap();
    let records = |first, records| frame(&GuestMessage::Records { first, records });
    let mut too_long = frame(&GuestMessage::Alive);
    too_long[0] = 2;
    too_long.push(0);
    for (bytes, words) in [
        (u32::MAX.to_le_bytes().to_vec(), "a frame of 4294967295 bytes"),
        (vec![0, 0, 0, 0], "no message"),
        (vec![1, 0, 0, 0, 0xff], "no message"),
        (too_long, "no message"),
        (frame(&GuestMessage::Ready), "in the middle of a job"),
        (records(2, vec![opened(1)]), "sent record 2 instead of 1"),
        (records(u64::MAX, vec![]), "instead of 1"),
        (records(1, vec![said(1, "x")]), "before it opened it"),
        (records(1, vec![closed(JOB_SPAN.0)]), "before it opened it"),
        (records(1, vec![opened(JOB_SPAN.0 + 9)]), "the host's"),
        (records(1, vec![opened(1), said(1, &"x".repeat(20_000))]), "a line of 20000 bytes"),
    ] {
        let played = Scene::new()
            .play(move |mut guest: Guest| async move {
                guest.take_job().await;
                guest.raw(&bytes).await;
                guest.until_hung_up().await;
            })
            .await;
        let (state, reason) = played.end();
        assert_eq!(state, State::Error, "{words}");
        assert!(reason.contains("protocol") && reason.contains(words), "{reason} / {words}");
        assert!(played.killed);
        ends(&played);
    }
}

/// What is said once and becomes very much is stored in pieces that a runner's
/// server takes (see `Control::append`).
#[tokio::test(start_paused = true)]
async fn what_becomes_very_many_records_is_stored_in_pieces() {
    let played = Scene::new()
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            let mut first = 1;
            for _ in 0..5 {
                let spans: Vec<_> = (first..first + limits::RECORDS as u64).map(opened).collect();
                first += spans.len() as u64;
                guest.records(first - limits::RECORDS as u64, spans).await;
                assert!(matches!(guest.receive().await, Some(HostMessage::Acknowledge(_))));
            }
            let breaks = Said::Message {
                span: None,
                level: protocol::Level::Warning,
                time: 0,
                text: "\n".repeat(limits::MESSAGE),
                file: None,
                line: None,
            };
            guest.records(first, vec![breaks]).await;
            assert!(matches!(guest.receive().await, Some(HostMessage::Acknowledge(_))));
            guest.finish(Outcome::Success, Some(0), "").await;
        })
        .await;
    assert_eq!(played.end().0, State::Success);
    let closed = played.records.iter().filter(|r| matches!(r, Record::Closed { .. })).count();
    assert!(closed > 5 * limits::RECORDS, "{closed} spans have ended");
    let lines = played.records.iter().filter(|r| matches!(r, Record::Line { .. })).count();
    assert_eq!(lines, limits::MESSAGE);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_says_that_it_lives_and_nothing_else_without_end_is_stopped() {
    let played = Scene::new()
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            let alive = protocol::encode(&GuestMessage::Alive).unwrap().repeat(1000);
            while tokio::io::AsyncWriteExt::write_all(&mut guest.channel, &alive).await.is_ok() {}
        })
        .await;
    let (state, reason) = played.end();
    assert_eq!(state, State::Error);
    assert!(reason.contains("protocol") && reason.contains("nothing in them"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn figures_that_nobody_has_are_cut() {
    let played = Scene::new()
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            let finished = protocol::Finished {
                outcome: Outcome::Failure,
                reason: "because \u{1b}[2J ".repeat(10_000),
                exit_status: Some(i32::MIN),
                dropped_lines: u64::MAX,
            };
            guest.send(&GuestMessage::Finished(finished)).await;
        })
        .await;
    let conclusion = played.conclusion.unwrap();
    conclusion.check().unwrap();
    assert!(!conclusion.reason.unwrap().contains('\u{1b}'));
}

#[tokio::test(start_paused = true)]
async fn a_stranger_on_the_channel_is_refused() {
    for (bytes, words) in [
        (b"dvc\n\x63\0\0\0".to_vec(), "version 99"),
        (b"SSH-2.0-OpenSSH".to_vec(), "does not speak the devenv-cloud protocol"),
    ] {
        let played = Scene::new()
            .play(move |mut guest: Guest| async move {
                guest.raw(&bytes).await;
                guest.sleep_until_hung_up().await;
            })
            .await;
        let (state, reason) = played.end();
        assert_eq!(state, State::Error);
        assert!(reason.contains(words), "{reason}");
        assert!(ends(&played).contains(&(MACHINE_SPAN.0, State::Error)));
    }
}

#[tokio::test(start_paused = true)]
async fn records_before_the_machine_is_ready_are_refused() {
    let played = Scene::new()
        .play(|mut guest: Guest| async move {
            guest.hello().await;
            guest.records(1, vec![opened(1)]).await;
            guest.until_hung_up().await;
        })
        .await;
    assert!(played.end().1.contains("before it was ready"), "{:?}", played.end());
}

#[tokio::test(start_paused = true)]
async fn another_machine_takes_the_place_of_one_that_does_not_come_up() {
    let began = Instant::now();
    let mut scene = Scene::new();
    scene.silent = 1;
    let played = scene
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            guest.finish(Outcome::Success, Some(0), "").await;
        })
        .await;
    assert_eq!(played.end().0, State::Success);
    assert_eq!(began.elapsed().as_secs(), 30);
    let told = |record: &Record| {
        matches!(record, Record::Line { span: MACHINE_SPAN, text, .. }
            if text == "the machine was not ready after 30 s; another one takes its place")
    };
    assert!(played.records.iter().any(told), "{:?}", played.records);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_come_up_is_given_up() {
    let began = Instant::now();
    let mut scene = Scene::new();
    scene.silent = 2;
    let played = scene.play(|_| async { panic!("there is no third machine") }).await;
    assert_eq!(played.end(), (State::Error, "the machine was not ready after 120 s"));
    assert_eq!(began.elapsed().as_secs(), 120);
    assert!(played.killed);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_the_job() {
    let began = Instant::now();
    let played = Scene::new()
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            sleep(Duration::from_secs(50)).await;
            guest.send(&GuestMessage::Alive).await;
            // Half a frame is silence, too.
            guest.raw(&[9, 0, 0]).await;
            guest.until_hung_up().await;
        })
        .await;
    assert_eq!(played.end(), (State::Error, "the machine said nothing for 60 s"));
    assert_eq!(began.elapsed().as_secs(), 110);
}

#[tokio::test(start_paused = true)]
async fn no_machine_is_an_error_that_says_what_to_do() {
    let mut scene = Scene::new();
    scene.host.missing = true;
    let played = scene.play(|_: Guest| async {}).await;
    let (state, reason) = played.end();
    assert_eq!(state, State::Error);
    assert!(reason.contains("apt-get install qemu-system-x86"), "{reason}");
    assert!(ends(&played).contains(&(MACHINE_SPAN.0, State::Error)));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_is_a_cancellation_whatever_it_says() {
    let scene = Scene::new();
    let control = scene.control.clone();
    let played = scene
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            control.state.send_replace(LeaseState::Cancelled);
            assert_eq!(guest.receive().await, Some(HostMessage::Cancel { grace_ms: 10_000 }));
            guest.finish(Outcome::Success, Some(0), "").await;
        })
        .await;
    assert_eq!(played.end(), (State::Cancellation, "the job was cancelled"));
    assert!(ends(&played).contains(&(JOB_SPAN.0, State::Cancellation)));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_that_does_not_end_is_killed() {
    let scene = Scene::new();
    let control = scene.control.clone();
    let began = Instant::now();
    let played = scene
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            control.state.send_replace(LeaseState::Cancelled);
            guest.live_until_hung_up().await;
        })
        .await;
    assert_eq!(played.end().0, State::Cancellation);
    assert!(played.killed);
    assert!((15..17).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_cancelled_while_its_machine_boots_ends_at_once() {
    let scene = Scene::new();
    let control = scene.control.clone();
    let played = scene
        .play(|mut guest: Guest| async move {
            guest.hello().await;
            control.state.send_replace(LeaseState::Cancelled);
            guest.until_hung_up().await;
        })
        .await;
    assert_eq!(played.end().0, State::Cancellation);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_takes_too_long_is_told_to_stop_and_then_killed() {
    let mut scene = Scene::new();
    scene.assignment.limits.timeout_seconds = 120;
    let began = Instant::now();
    let played = scene
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            guest.live_until_hung_up().await;
        })
        .await;
    assert_eq!(played.end(), (State::Timeout, "the job took longer than it may (2 min)"));
    assert_eq!(began.elapsed().as_secs(), 135);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_kills_the_machine_and_reports_nothing() {
    let scene = Scene::new();
    let control = scene.control.clone();
    let played = scene
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            control.state.send_replace(LeaseState::Lost);
            guest.until_hung_up().await;
        })
        .await;
    assert!(played.conclusion.is_none());
    assert!(played.killed);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_and_given_up_when_nobody_answers() {
    let scene = Scene::new();
    let control = scene.control.clone();
    let played = scene
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            for _ in 0..9 {
                sleep(Duration::from_secs(10)).await;
                guest.send(&GuestMessage::Alive).await;
            }
            assert_eq!(control.renewals.load(Ordering::Relaxed), 5, "at once and every 20 s");
            control.reachable.store(false, Ordering::Relaxed);
            let began = Instant::now();
            guest.live_until_hung_up().await;
            assert!((40..=65).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        })
        .await;
    assert!(played.conclusion.is_none(), "somebody else may have it by now");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_sleeps_is_woken_now_and_then() {
    let played = Scene::new()
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            guest.records(1, vec![opened(1), said(1, "kept")]).await;
            let stored = Some(HostMessage::Acknowledge(2));
            assert_eq!(guest.receive().await, stored);
            for _ in 0..10 {
                assert_eq!(timeout(Duration::from_secs(6), guest.receive()).await.unwrap(), stored);
            }
            guest.finish(Outcome::Success, Some(0), "").await;
        })
        .await;
    assert_eq!(played.end().0, State::Success);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_before_it_is_stored() {
    let scene = Scene::new();
    let control = scene.control.clone();
    let played = scene
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            control.storing.send_replace(false);
            guest.records(1, vec![opened(1), said(1, "kept")]).await;
            let nothing = async {
                loop {
                    assert_eq!(guest.receive().await, Some(HostMessage::Acknowledge(0)));
                }
            };
            timeout(Duration::from_secs(60), nothing).await.unwrap_err();
            control.storing.send_replace(true);
            let next = loop {
                match guest.receive().await {
                    Some(HostMessage::Acknowledge(0)) => {}
                    next => break next,
                }
            };
            assert_eq!(next, Some(HostMessage::Acknowledge(2)));
            guest.finish(Outcome::Success, Some(0), "").await;
        })
        .await;
    assert_eq!(played.end().0, State::Success);
    let lines = played.records.iter().filter(|r| matches!(r, Record::Line { .. })).count();
    assert_eq!(lines, 1, "stored once");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_come_back_ends_the_job() {
    let scene = Scene::new();
    let control = scene.control.clone();
    let played = scene
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            control.storing.send_replace(false);
            guest.records(1, vec![opened(1)]).await;
            guest.until_hung_up().await;
            control.storing.send_replace(true);
        })
        .await;
    let (state, reason) = played.end();
    assert_eq!(state, State::Error);
    assert!(reason.contains("could not be stored") && reason.contains("the database is gone"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn no_room_for_the_log_ends_the_job_at_once_with_all_else_reported() {
    let scene = Scene::new();
    let control = scene.control.clone();
    let played = scene
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            guest.records(1, vec![opened(1), said(1, "kept")]).await;
            assert_eq!(guest.receive().await, Some(HostMessage::Acknowledge(2)));
            control.full.store(true, Ordering::Relaxed);
            guest.records(3, vec![said(1, "refused"), opened(2)]).await;
            guest.until_hung_up().await;
        })
        .await;
    let (state, reason) = played.end();
    assert_eq!(state, State::Error);
    assert!(reason.contains("disk is full"), "{reason}");
    let lines = played.records.iter().filter(|r| matches!(r, Record::Line { .. })).count();
    assert_eq!(lines, 1, "what was acknowledged is kept");
    let ends = ends(&played);
    assert!([1, 2, JOB_SPAN.0].iter().all(|id| ends.contains(&(*id, State::Error))), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_waits_for_the_store_instead_of_filling_the_memory() {
    let scene = Scene::new();
    let control = scene.control.clone();
    let played = scene
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            guest.records(1, vec![opened(1)]).await;
            assert_eq!(guest.receive().await, Some(HostMessage::Acknowledge(1)));
            control.storing.send_replace(false);
            let frame = |first| GuestMessage::Records { first, records: vec![said(1, &"x".repeat(16_000))] };
            let mut sent = 0;
            let blocked = async {
                loop {
                    guest.send(&frame(2 + sent)).await;
                    sent += 1;
                }
            };
            tokio::select! {
                () = blocked => {}
                () = sleep(Duration::from_secs(30)) => {}
            }
            // One is being stored, the channel holds the others.
            assert!(sent * 16_000 <= CHANNEL as u64 + 16_000, "{sent} frames were taken");
            control.storing.send_replace(true);
            guest.until_hung_up().await;
        })
        .await;
    // The frame that was cut off by the select is no end of its own.
    assert_eq!(played.end().0, State::Error);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_be_read_ends_the_job_in_its_own_words() {
    let scene = Scene::new();
    *scene.control.source.lock().unwrap() = vec![
        Ok(vec![1].into()),
        Err(crate::executor::ControlError::Source(
            "the commit c0ffee is not in the repository any more".into(),
        )),
    ];
    let played = scene
        .play(|mut guest: Guest| async move {
            guest.hello().await;
            guest.receive().await;
            guest.send(&GuestMessage::Ready).await;
            guest.until_hung_up().await;
        })
        .await;
    assert_eq!(played.end(), (State::Error, "the commit c0ffee is not in the repository any more"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_drops_the_job_and_reports_nothing() {
    let scene = Scene::new();
    let stop = scene.stop.clone();
    let played = scene
        .play(|mut guest: Guest| async move {
            guest.take_job().await;
            stop.cancel();
            guest.until_hung_up().await;
        })
        .await;
    assert!(played.conclusion.is_none());
    assert!(played.killed);
}
