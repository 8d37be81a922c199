//! Streams to the network, many over the one channel. What they do is in
//! [`crate::streams`].

use serde::{Deserialize, Serialize};

/// Something about one stream. Only the guest opens, and only the host says that
/// it is open; all else goes both ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Reach this host. Both sides begin with a credit of [`super::limits::STREAM_WINDOW`].
    Open {
        /// The stream's number, higher than all before.
        stream: u32,
        /// A name, or an address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// The host is reached.
    Opened {
        /// Which stream.
        stream: u32,
    },
    /// Bytes: at least one, at most [`super::limits::STREAM_CHUNK`], and never
    /// more than there is credit for.
    Data {
        /// Which stream.
        stream: u32,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// So many bytes were taken, half a window at least: as many more may come.
    Credit {
        /// Which stream.
        stream: u32,
        /// How many.
        bytes: u32,
    },
    /// No more bytes will come from this side.
    End {
        /// Which stream.
        stream: u32,
    },
    /// It is over, in both directions.
    Reset {
        /// Which stream.
        stream: u32,
        /// What kind of end it is.
        why: Why,
        /// One sentence, at most [`super::limits::VALUE`] bytes; empty from the guest.
        words: String,
    },
}

impl Network {
    /// The stream that it is about.
    #[must_use]
    pub const fn stream(&self) -> u32 {
        match self {
            Self::Open { stream, .. }
            | Self::Opened { stream }
            | Self::Data { stream, .. }
            | Self::Credit { stream, .. }
            | Self::End { stream }
            | Self::Reset { stream, .. } => *stream,
        }
    }
}

/// Why a stream is over before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The policy says no.
    Refused,
    /// There is no such host, or it does not answer.
    Unreachable,
    /// There are too many.
    Limit,
    /// It broke, or nobody wants it any more.
    Broken,
}
