//! What commands print, in all the ways that hurt.

use devenv_cloud_guest::protocol::{HostMessage, Outcome, Record, Stream, limits};

use crate::host::{Ground, commit, run_nix};

#[test]
fn a_hundred_thousand_lines_arrive_in_order() {
    let trace = run_nix(r#"{ tasks."a:x".exec = "seq 1 100000"; }"#).succeeded();
    let lines = trace.lines("a:x");
    assert_eq!(lines.len(), 100_000);
    assert!(lines.iter().enumerate().all(|(index, line)| *line == (index + 1).to_string()));
}

#[test]
fn both_streams_are_told_apart_and_a_missing_line_break_is_none() {
    let trace = run_nix(r#"{ tasks."a:x".exec = "echo out; echo err >&2; printf end"; }"#).succeeded();
    let of = |wanted: Stream| -> Vec<&str> {
        let lines = trace.records.iter().filter_map(|record| match record {
            Record::Line { stream, text, .. } if *stream == wanted => Some(text.as_str()),
            _ => None,
        });
        lines.collect()
    };
    assert_eq!(of(Stream::Stdout), ["out", "end"]);
    assert_eq!(of(Stream::Stderr), ["err"]);
}

#[test]
fn invalid_utf8_and_colours_are_kept_as_well_as_can_be() {
    let trace =
        run_nix(r#"{ tasks."a:x".exec = "printf 'a\\xffb\\0\\n\\033[31mred\\033[0m\\n10%%\\r20%%\\n'"; }"#)
            .succeeded();
    assert_eq!(trace.lines("a:x"), ["a\u{FFFD}b\u{FFFD}", "\u{1b}[31mred\u{1b}[0m", "10%\r20%"]);
}

#[test]
fn a_huge_line_is_cut_and_complete() {
    let trace = run_nix(r#"{ tasks."a:x".exec = "head -c 3000000 /dev/zero | tr '\\0' x"; }"#).succeeded();
    let lines = trace.lines("a:x");
    assert!(lines.iter().all(|line| line.len() <= limits::LINE));
    assert_eq!(lines.iter().map(|line| line.len()).sum::<usize>(), 3_000_000);
}

#[test]
fn what_exceeds_the_log_limit_is_counted() {
    let commit = commit(&[("devenv.nix", r#"{ tasks."a:x".exec = "seq 100000 199999"; }"#)]);
    let trace = Ground::new().begin(&commit, |job| job.max_log_bytes = 7_000).finish();
    assert_eq!(trace.finished.outcome, Outcome::Success);
    let lines = trace.lines("a:x").len() as u64;
    assert_eq!(lines + trace.finished.dropped_lines, 100_000);
    assert!((990..=1000).contains(&lines), "{lines}");
    assert_eq!(trace.said("a:x").len(), 1);
}

/// A host that acknowledges nothing stops the guest, and loses nothing by it.
#[test]
fn a_host_that_is_slow_slows_the_job_down() {
    let commit = commit(&[("devenv.nix", r#"{ tasks."a:x".exec = "seq 1 300000"; }"#)]);
    let mut host = Ground::new().begin(&commit, |_| {});
    let mut sent = 0;
    while sent < limits::WINDOW {
        use devenv_cloud_guest::protocol::{GuestMessage, read_message};
        if let GuestMessage::Records { first, records } = read_message(&host.channel).unwrap() {
            assert_eq!(first, sent + 1);
            sent += records.len() as u64;
            host.records.extend(records);
        }
    }
    assert_eq!(sent, limits::WINDOW, "never more than the window");
    host.send(&HostMessage::Acknowledge(sent));
    let trace = host.finish().succeeded();
    assert_eq!(trace.lines("a:x").len(), 300_000);
}
