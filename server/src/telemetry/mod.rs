//! Telemetry: spans and logs of attempts. Records are grouped by attempt into
//! compressed, immutable chunks; SQL holds the index, the object store the
//! bytes. A record is acknowledged only when its chunk is durable.
//!
//! Small chunks stand in the index row itself: a job that says a line a second
//! would otherwise make an object a second. When the attempt has ended, its
//! many small chunks are rewritten as few large ones, and its spans, as they
//! are in the end, as one object of their own, so that the trace of a job with
//! a million lines opens without reading one of them.

mod chunk;
mod compact;
mod fold;
mod live;
mod read;
mod record;
mod search;
mod steps;
mod store;
mod write;

pub use compact::{compact_once, remove_orphans_once};
pub use fold::Folded;
pub use live::{Event, attempt_events};
pub use read::{LogQuery, Telemetry, TelemetryError, log_text, log_window, trace};
pub use record::{JOB_SPAN, MACHINE_SPAN, RESEED_SPAN, Record};
pub use search::{Found, Resume, Search, search_log};
pub use steps::Way;
pub(crate) use store::way_of;
pub(crate) use write::append;
