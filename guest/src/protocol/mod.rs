//! The protocol between host and guest.
//!
//! One byte stream in each direction (a virtio-serial port), cut into frames:
//! a 32-bit little-endian length and that many bytes of postcard. Each side
//! first sends a [`Hello`], whose form never changes, so that two versions that
//! do not understand each other can say so; the guest answers the host's. The
//! guest gets exactly one job and then powers off; there is no second job and no
//! resumption.
//!
//! Before its job a machine may be warmed up, any number of times, each with a
//! greeting of its own: a machine that is frozen then and restored later goes on
//! by waiting for a greeting, which may come from another host process.
//!
//! The guest is hostile: everything here is bounded, and [`limits`] says by how
//! much. The host checks what a type cannot express (that a span was opened
//! before it is closed, that sequence numbers have no gaps).
//!
//! ```text
//! host                                guest
//!  Hello ───────────────────────────▶
//!        ◀─────────────────────────── Hello
//!  (Warm ───────────────────────────▶
//!        ◀────────────────────────── Warmed, and again from Hello)
//!  Prepare (clock, entropy, name) ──▶
//!        ◀─────────────────────────── Ready
//!  Job ─────────────────────────────▶
//!  Source… SourceEnd ───────────────▶
//!        ◀─────────────────────────── Records…
//!  Acknowledge… ────────────────────▶
//!  (Cancel) ────────────────────────▶
//!  Network… ◀──────────────────────▶ Network…
//!        ◀─────────────────────────── Finished
//!  Acknowledge of the last record ──▶ powers off
//! ```

mod frame;
mod messages;
mod network;

pub use frame::{
    FrameError, Hello, decode, encode, parse_hello, parse_length, read_hello, read_message, write_hello,
    write_message,
};
pub use messages::{
    Finished, GuestMessage, HostMessage, Job, Level, Outcome, Prepare, Record, SpanKind, Stage, Stream,
};
pub use network::{Network, Why};

/// The version of everything but [`Hello`]. Changes with every change of a message.
pub const VERSION: u16 = 6;

/// The name of the virtio-serial port.
pub const PORT_NAME: &str = "devenv-cloud";

/// Where the project's source always is, so that evaluation caches hit and
/// paths in messages are the same in every job.
pub const SOURCE_DIR: &str = "/work/repo";

/// The host name that evaluations see, so that `profiles.hostname."devenv-ci"`
/// works. The kernel's own has the machine's id behind it.
pub const HOST_NAME: &str = "devenv-ci";

/// The user that runs every job.
pub const USER_NAME: &str = "devenv";

/// Where the proxy to the network listens inside the machine, on 127.0.0.1.
pub const PROXY_PORT: u16 = 3128;

/// Bounds that both sides keep, and that the host enforces.
pub mod limits {
    /// Bytes of one frame.
    pub const FRAME: usize = 1 << 20;
    /// Bytes of one chunk of source.
    pub const SOURCE_CHUNK: usize = 256 << 10;
    /// Bytes of one log line; a longer one is cut into several.
    pub const LINE: usize = 16 << 10;
    /// Records of one frame.
    pub const RECORDS: usize = 4096;
    /// Bytes of a name (span, task) or an attribute's key.
    pub const NAME: usize = 512;
    /// Bytes of an attribute's value.
    pub const VALUE: usize = 4096;
    /// Bytes of a message's text.
    pub const MESSAGE: usize = 64 << 10;
    /// Attributes of one span.
    pub const ATTRIBUTES: usize = 64;
    /// Spans of one job.
    pub const SPANS: usize = 200_000;
    /// Records that the guest may send ahead of the host's acknowledgement.
    pub const WINDOW: u64 = 65_536;
    /// Span ids of the guest are below this; the host's own are not.
    pub const GUEST_SPAN_IDS: u64 = 1 << 48;
    /// Streams to the network that are open at once.
    pub const STREAMS: usize = 128;
    /// Bytes of one stream that may be on their way in one direction.
    pub const STREAM_WINDOW: u32 = 128 << 10;
    /// Bytes of a stream in one frame, so that a record never waits for more.
    pub const STREAM_CHUNK: usize = 32 << 10;
    /// Bytes of the name of a host.
    pub const HOST: usize = 255;
}
