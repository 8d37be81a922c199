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
