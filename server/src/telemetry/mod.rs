//! Telemetry: spans and logs of attempts. Records are grouped by attempt into
//! compressed, immutable chunks; SQL holds the index, the object store the
//! bytes. A record is acknowledged only when its chunk is durable.

mod record;

pub use record::{JOB_SPAN, Record};
