//! Records: what telemetry is made of, whoever produced it.

use std::collections::BTreeMap;

use devenv_cloud_api::{
    Timestamp,
    ids::SpanId,
    runs::{Annotation, Stage, State},
    trace::{SpanKind, Stream},
};
use serde::{Deserialize, Serialize};

/// The span of the job itself. Its parent is nobody; whatever names no parent
/// hangs under it.
pub const JOB_SPAN: SpanId = SpanId(1 << 48);

/// The span of getting a machine.
pub const MACHINE_SPAN: SpanId = SpanId(JOB_SPAN.0 + 2);

/// The span of making it one of its own: entropy, time, name.
pub const RESEED_SPAN: SpanId = SpanId(JOB_SPAN.0 + 4);

/// Something that happened in an attempt. Validated: bounds are kept, spans are
/// opened before they are closed, ids are unique.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A span begins.
    Opened {
        /// Its id.
        id: SpanId,
        /// The span that it is a part of; none for the job itself.
        parent: Option<SpanId>,
        /// What it is about.
        kind: SpanKind,
        /// The stage that it is, if it is one (tasks: [`Stage::Task`]).
        stage: Option<Stage>,
        /// Its name.
        name: String,
        /// When.
        time: Timestamp,
        /// Attributes in OpenTelemetry's vocabulary.
        attributes: BTreeMap<String, String>,
    },
    /// A span ends.
    Closed {
        /// Its id.
        id: SpanId,
        /// When.
        time: Timestamp,
        /// How.
        state: State,
        /// Further attributes.
        attributes: BTreeMap<String, String>,
    },
    /// A line of a log.
    Line {
        /// The span that wrote it.
        span: SpanId,
        /// Where it came from.
        stream: Stream,
        /// When.
        time: Timestamp,
        /// The text without its line break.
        text: String,
    },
    /// Something to show in front of everything else.
    Annotation(Annotation),
}

/// Bounds of what comes from a runner. They are those of the guest's protocol,
/// with some room for what the runner says itself, and for the three bytes that
/// stand for every character that must not be shown.
const MOST_RECORDS: usize = 8192;
const LONGEST_NAME: usize = 2048;
const LONGEST_VALUE: usize = 16 << 10;
const LONGEST_TEXT: usize = 256 << 10;
const MOST_ATTRIBUTES: usize = 128;

impl Record {
    /// Whether records from outside this process keep the bounds.
    ///
    /// # Errors
    /// In words, which bound they do not keep.
    pub fn check_all(records: &[Self]) -> Result<(), String> {
        if records.len() > MOST_RECORDS {
            return Err(format!("at most {MOST_RECORDS} records at once"));
        }
        records.iter().try_for_each(Self::check)
    }

    /// Whether it opens or closes a span.
    pub(super) const fn is_about_spans(&self) -> bool {
        matches!(self, Self::Opened { .. } | Self::Closed { .. })
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Opened { name, time, attributes, .. } => {
                text("a name", name, LONGEST_NAME)?;
                moment(*time)?;
                attributes_fine(attributes)
            }
            Self::Closed { time, state, attributes, .. } => {
                if !state.is_final() {
                    return Err(format!("no span ends with `{state}`"));
                }
                moment(*time)?;
                attributes_fine(attributes)
            }
            Self::Line { text: line, time, .. } => {
                moment(*time)?;
                // Lines are stored as they are, NUL and all: no database reads them.
                if line.len() > LONGEST_TEXT { Err("a line is too long".to_owned()) } else { Ok(()) }
            }
            Self::Annotation(annotation) => {
                text("a message", &annotation.message, LONGEST_TEXT)?;
                text("a file's name", annotation.file.as_deref().unwrap_or_default(), LONGEST_VALUE)
            }
        }
    }
}

fn attributes_fine(attributes: &BTreeMap<String, String>) -> Result<(), String> {
    if attributes.len() > MOST_ATTRIBUTES {
        return Err(format!("at most {MOST_ATTRIBUTES} attributes of one span"));
    }
    attributes.iter().try_for_each(|(key, value)| {
        text("an attribute's name", key, LONGEST_NAME)?;
        text("an attribute", value, LONGEST_VALUE)
    })
}

fn text(what: &str, text: &str, most: usize) -> Result<(), String> {
    if text.len() > most {
        return Err(format!("{what} has at most {most} bytes"));
    }
    // PostgreSQL's text holds anything but this.
    if text.contains('\0') { Err(format!("{what} holds no NUL")) } else { Ok(()) }
}

/// Somewhere in this century: what both databases hold, and what leaves room to reckon with.
fn moment(time: Timestamp) -> Result<(), String> {
    let seconds = time.timestamp();
    if (0..=4_102_444_800).contains(&seconds) { Ok(()) } else { Err("a time is out of reach".to_owned()) }
}
