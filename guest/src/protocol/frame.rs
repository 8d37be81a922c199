//! Frames: how messages become bytes and bytes become messages again.

use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};

use super::{VERSION, limits};

/// The first bytes of each direction. Its form never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version of the protocol that the sender speaks.
    pub version: u16,
}

const MAGIC: [u8; 4] = *b"dvc\n";

/// Why a frame was refused.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The channel broke or ended.
    #[error("the channel ended: {0}")]
    Io(#[from] io::Error),
    /// The other side does not speak this protocol at all.
    #[error("the other side does not speak the devenv-cloud protocol (it began with {0:02x?})")]
    Magic([u8; 4]),
    /// The other side speaks another version.
    #[error(
        "the other side speaks version {theirs} of the protocol, this side version {VERSION}: \
         rebuild the image with `devenv-cloud image build`"
    )]
    Version {
        /// The version of the other side.
        theirs: u16,
    },
    /// A frame is longer than a frame may be.
    #[error("a frame of {0} bytes; the limit is {limit}", limit = limits::FRAME)]
    TooLong(usize),
    /// The bytes are no message.
    #[error("a frame that is no message: {0}")]
    Malformed(#[from] postcard::Error),
}

/// Says which version this side speaks.
///
/// # Errors
/// When the channel is broken.
pub fn write_hello(mut channel: impl Write) -> Result<(), FrameError> {
    let version = VERSION.to_le_bytes();
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..6].copy_from_slice(&version);
    channel.write_all(&bytes)?;
    channel.flush()?;
    Ok(())
}

/// Reads which version the other side speaks, and refuses any but our own.
///
/// # Errors
/// [`FrameError::Magic`] and [`FrameError::Version`] as their words say.
pub fn read_hello(mut channel: impl Read) -> Result<Hello, FrameError> {
    let mut bytes = [0; 8];
    channel.read_exact(&mut bytes)?;
    parse_hello(bytes)
}

/// [`read_hello`] for those who read bytes themselves.
///
/// # Errors
/// As [`read_hello`].
pub fn parse_hello(bytes: [u8; 8]) -> Result<Hello, FrameError> {
    let [a, b, c, d, low, high, _, _] = bytes;
    if [a, b, c, d] != MAGIC {
        return Err(FrameError::Magic([a, b, c, d]));
    }
    let version = u16::from_le_bytes([low, high]);
    if version == VERSION { Ok(Hello { version }) } else { Err(FrameError::Version { theirs: version }) }
}

/// A message as the bytes of one frame, length included.
///
/// # Errors
/// [`FrameError::TooLong`].
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, FrameError> {
    let mut bytes = postcard::to_extend(message, vec![0; 4])?;
    let length = bytes.len() - 4;
    if length > limits::FRAME {
        return Err(FrameError::TooLong(length));
    }
    let prefix = u32::try_from(length).map_err(|_| FrameError::TooLong(length))?.to_le_bytes();
    bytes[..4].copy_from_slice(&prefix);
    Ok(bytes)
}

/// The length that a frame's first four bytes announce, checked.
///
/// # Errors
/// [`FrameError::TooLong`].
pub fn parse_length(bytes: [u8; 4]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(bytes) as usize;
    if length > limits::FRAME { Err(FrameError::TooLong(length)) } else { Ok(length) }
}

/// The message of a frame's bytes (without the length). Nothing may be left over.
///
/// # Errors
/// [`FrameError::Malformed`].
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, FrameError> {
    let (message, rest) = postcard::take_from_bytes(bytes)?;
    if rest.is_empty() { Ok(message) } else { Err(postcard::Error::SerdeDeCustom.into()) }
}

/// Writes one message.
///
/// # Errors
/// [`FrameError::TooLong`], and when the channel is broken.
pub fn write_message<M: Serialize>(mut channel: impl Write, message: &M) -> Result<(), FrameError> {
    channel.write_all(&encode(message)?)?;
    channel.flush()?;
    Ok(())
}

/// Reads one message.
///
/// # Errors
/// [`FrameError::TooLong`], [`FrameError::Malformed`], and when the channel ends.
pub fn read_message<M: DeserializeOwned>(mut channel: impl Read) -> Result<M, FrameError> {
    let mut prefix = [0; 4];
    channel.read_exact(&mut prefix)?;
    let mut bytes = vec![0; parse_length(prefix)?];
    channel.read_exact(&mut bytes)?;
    decode(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{GuestMessage, HostMessage};

    #[test]
    fn a_message_survives_the_way() {
        let message = HostMessage::Cancel { grace_ms: 10_000 };
        let mut bytes = Vec::new();
        write_message(&mut bytes, &message).unwrap();
        assert_eq!(read_message::<HostMessage>(&bytes[..]).unwrap(), message);
    }

    #[test]
    fn another_version_is_refused_with_words() {
        let mut bytes = Vec::new();
        write_hello(&mut bytes).unwrap();
        bytes[4] = 99;
        let error = read_hello(&bytes[..]).unwrap_err();
        assert!(error.to_string().contains("version 99"), "{error}");
    }

    #[test]
    fn a_stranger_is_refused() {
        assert!(matches!(read_hello(&b"GET / HTTP/1.1"[..]), Err(FrameError::Magic(_))));
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_allocated() {
        let bytes = u32::MAX.to_le_bytes();
        assert!(matches!(read_message::<GuestMessage>(&bytes[..]), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn bytes_after_the_message_are_refused() {
        let mut bytes = encode(&GuestMessage::Alive).unwrap();
        bytes.push(0);
        assert!(matches!(decode::<GuestMessage>(&bytes[4..]), Err(FrameError::Malformed(_))));
    }

    #[test]
    fn a_frame_cut_short_is_an_end_and_no_message() {
        let bytes = encode(&GuestMessage::Ready).unwrap();
        assert!(matches!(read_message::<GuestMessage>(&bytes[..bytes.len() - 1]), Err(FrameError::Io(_))));
    }
}
