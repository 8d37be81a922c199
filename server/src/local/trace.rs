//! `--trace FILE`: the run as the API would tell it.
//!
//! Lines are written as they come, since a log may be larger than memory; the
//! rest follows when the job has ended. The file appears under its name only
//! then, whole.

use std::{
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use devenv_cloud_api::{
    Timestamp,
    ids::AttemptId,
    runs::{Annotation, Attempt, Commit, StageSummary},
    trace::{LogLine, SpanKind, Trace},
};
use serde::Serialize;

use crate::{
    executor::Conclusion,
    telemetry::{Folded, Record},
};

/// A trace being written.
#[derive(Debug)]
pub(super) struct TraceFile {
    path: PathBuf,
    file: BufWriter<tempfile::NamedTempFile>,
    folded: Folded,
    annotations: Vec<Annotation>,
    seq: u64,
    lines: u64,
}

/// What is known of the run besides its records.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) attempt: AttemptId,
    pub(super) commit: Commit,
    pub(super) profiles: Vec<String>,
    pub(super) tasks: Vec<String>,
    pub(super) began: Timestamp,
}

#[derive(Serialize)]
struct Rest<'a> {
    commit: &'a Commit,
    profiles: &'a [String],
    tasks: &'a [String],
    attempt: Attempt,
    trace: Trace,
}

impl TraceFile {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new().prefix(".devenv-cloud-trace-").tempfile_in(directory)?;
        let mut file = BufWriter::new(file);
        file.write_all(b"{\"log\":{\"lines\":[")?;
        Ok(Self {
            path: path.to_owned(),
            file,
            folded: Folded::default(),
            annotations: Vec::new(),
            seq: 0,
            lines: 0,
        })
    }

    pub(super) fn record(&mut self, record: &Record) -> io::Result<()> {
        self.seq += 1;
        self.folded.take(self.seq, record);
        match record {
            Record::Line { span, stream, time, text } => {
                self.file.write_all(if self.lines == 0 { b"\n" } else { b",\n" })?;
                self.lines += 1;
                let line = LogLine {
                    number: self.lines,
                    span: *span,
                    stream: *stream,
                    time: *time,
                    text: text.clone(),
                };
                serde_json::to_writer(&mut self.file, &line)?;
            }
            Record::Annotation(annotation) => self.annotations.push(annotation.clone()),
            Record::Opened { .. } | Record::Closed { .. } => {}
        }
        Ok(())
    }

    /// Writes the end, and gives the file its name.
    pub(super) fn finish(mut self, about: &About, conclusion: &Conclusion, now: Timestamp) -> io::Result<()> {
        let dropped = conclusion.dropped_lines;
        write!(self.file, "\n],\"total\":{},\"dropped\":{dropped},\"seq\":{}}},\n", self.lines, self.seq)?;
        let trace = self.folded.trace(Some((conclusion.state, now)), usize::MAX);
        let attempt = Attempt {
            id: about.attempt,
            number: 1,
            state: conclusion.state,
            reason: conclusion.reason.clone(),
            waits: None,
            latency: None,
            exit_status: conclusion.exit_status,
            queued_at: about.began,
            started_at: Some(about.began),
            finished_at: Some(now),
            runner: None,
            stages: stages(&trace),
            annotations: self.annotations,
        };
        let rest =
            Rest { commit: &about.commit, profiles: &about.profiles, tasks: &about.tasks, attempt, trace };
        let rest = serde_json::to_string(&rest)?;
        // Its fields go on where the log ended.
        self.file.write_all(rest.strip_prefix('{').unwrap_or(&rest).as_bytes())?;
        self.file.write_all(b"\n")?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let umask_like = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(file.path(), umask_like)?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }
}

fn stages(trace: &Trace) -> Vec<StageSummary> {
    let mut stages: Vec<_> = trace
        .spans
        .iter()
        .filter(|span| matches!(span.kind, SpanKind::Stage | SpanKind::Task))
        .filter_map(|span| {
            Some(StageSummary {
                span: span.id,
                stage: span.stage?,
                name: span.name.clone(),
                state: span.state,
                started_at: span.started_at,
                finished_at: span.finished_at,
                exit_status: span.attributes.get("process.exit.code").and_then(|status| status.parse().ok()),
            })
        })
        .collect();
    stages.sort_by_key(|stage| stage.started_at);
    stages
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use devenv_cloud_api::{
        ids::SpanId,
        runs::{Stage, State},
        trace::{LogWindow, Stream},
    };

    use super::*;
    use crate::telemetry::JOB_SPAN;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_timestamp_millis(millis).unwrap()
    }

    #[test]
    fn the_file_holds_the_types_of_the_api() {
        #[derive(serde::Deserialize)]
        struct File {
            log: LogWindow,
            trace: Trace,
            attempt: Attempt,
            commit: Commit,
            tasks: Vec<String>,
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace.json");
        let mut file = TraceFile::create(&path).unwrap();
        let task = SpanId(3);
        let opened = |id, parent, kind, stage, name: &str| Record::Opened {
            id,
            parent,
            kind,
            stage,
            name: name.to_owned(),
            time: at(5),
            attributes: BTreeMap::new(),
        };
        let line = |text: &str| Record::Line {
            span: task,
            stream: Stream::Stderr,
            time: at(6),
            text: text.to_owned(),
        };
        for record in [
            opened(JOB_SPAN, None, SpanKind::Job, None, "x86_64-linux"),
            opened(task, Some(JOB_SPAN), SpanKind::Task, Some(Stage::Task), "app:test"),
            line("one \u{1b}[31m\"quoted\""),
            line("two"),
            Record::Closed {
                id: task,
                time: at(9),
                state: State::Failure,
                attributes: [("process.exit.code".to_owned(), "7".to_owned())].into(),
            },
        ] {
            file.record(&record).unwrap();
        }
        assert!(!path.exists(), "it appears when it is whole");
        let commit = Commit {
            sha: "abc".into(),
            git_ref: "HEAD".into(),
            title: "t".into(),
            author: "a".into(),
            author_email: "e".into(),
        };
        let about = About {
            attempt: AttemptId(uuid::Uuid::nil()),
            commit,
            profiles: vec![],
            tasks: vec!["app:test".into()],
            began: at(0),
        };
        let conclusion = Conclusion {
            state: State::Failure,
            reason: Some("it failed".into()),
            exit_status: Some(7),
            dropped_lines: 4,
        };
        file.finish(&about, &conclusion, at(10)).unwrap();

        let file: File = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((file.log.total, file.log.dropped, file.log.lines.len()), (2, 4, 2));
        assert_eq!(file.log.lines[0].text, "one \u{1b}[31m\"quoted\"");
        assert_eq!((file.trace.total, file.trace.spans[1].lines), (2, 2));
        assert_eq!(file.trace.spans[0].state, State::Failure, "the end of the job ended it");
        assert_eq!(file.attempt.stages[0].exit_status, Some(7));
        assert_eq!((file.commit.sha.as_str(), file.tasks.len()), ("abc", 1));
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    }
}
