//! Ending a job early.

use std::time::{Duration, Instant};

use devenv_cloud_guest::protocol::{HostMessage, Outcome, Record};

use crate::host::{Ground, Trace, commit};

/// Cancels the job as soon as a task has said that it is up.
fn cancel(task: &str, grace_ms: u32) -> (Trace, Duration) {
    let nix = format!("{{ tasks.\"a:x\".exec = \"{task}\"; enterTest = \"echo never\"; }}");
    let mut host = Ground::new().begin(&commit(&[("devenv.nix", &nix)]), |_| {});
    host.wait_for(|record| matches!(record, Record::Line { text, .. } if text == "up"));
    let start = Instant::now();
    host.send(&HostMessage::Cancel { grace_ms });
    (host.finish(), start.elapsed())
}

#[test]
fn a_task_is_asked_to_end_and_may_say_goodbye() {
    let (trace, took) = cancel("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done", 60_000);
    let trace = trace.expect(Outcome::Cancellation, "the job was cancelled");
    // Bash itself may say that a signal ended its sleep.
    assert!(trace.lines("a:x").contains(&"bye"));
    assert_eq!(trace.outcome("a:x"), Outcome::Cancellation);
    assert_eq!(trace.find("devenv:enterTest"), None, "nothing is started any more");
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn a_task_that_ignores_it_is_ended_after_its_grace() {
    let (trace, took) = cancel("trap '' TERM; echo up; while :; do sleep 0.05; done", 300);
    trace.expect(Outcome::Cancellation, "the job was cancelled");
    assert!(took >= Duration::from_millis(300), "{took:?}");
}

#[test]
fn an_evaluation_can_be_cancelled() {
    // Nix computes for ever.
    let nix = "{ env.A = builtins.trace \"up\" (let f = n: if n < 0 then \"\" else f (n + 1); in f 0); }";
    let mut host = Ground::new().begin(&commit(&[("devenv.nix", nix)]), |_| {});
    host.wait_for(|record| matches!(record, Record::Line { text, .. } if text == "trace: up"));
    host.send(&HostMessage::Cancel { grace_ms: 200 });
    let trace = host.finish().expect(Outcome::Cancellation, "the job was cancelled");
    assert_eq!(trace.outcome("evaluate"), Outcome::Cancellation);
}
