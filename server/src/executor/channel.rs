//! The host's end of the channel, as frames.

use devenv_cloud_guest::protocol::{
    FrameError, GuestMessage, HostMessage, VERSION, decode, encode, parse_hello, parse_length, write_hello,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Says which version of the protocol we speak.
pub(crate) async fn send_hello(channel: &mut (impl AsyncWrite + Unpin)) -> Result<(), FrameError> {
    let mut hello = Vec::new();
    write_hello(&mut hello)?;
    channel.write_all(&hello).await?;
    Ok(())
}

/// Reads which version the guest speaks; any but ours ([`VERSION`]) is refused.
pub(crate) async fn receive_hello(channel: &mut (impl AsyncRead + Unpin)) -> Result<(), FrameError> {
    let mut hello = [0; 8];
    channel.read_exact(&mut hello).await?;
    let hello = parse_hello(hello)?;
    debug_assert_eq!(hello.version, VERSION);
    Ok(())
}

/// Writes one message.
pub(crate) async fn send(
    channel: &mut (impl AsyncWrite + Unpin),
    message: &HostMessage,
) -> Result<(), FrameError> {
    channel.write_all(&encode(message)?).await?;
    channel.flush().await?;
    Ok(())
}

/// Reads messages. Keeps its buffer, so that a job of a million lines does not
/// allocate a frame for each.
#[derive(Debug)]
pub(crate) struct Frames<R> {
    channel: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(crate) const fn new(channel: R) -> Self {
        Self { channel, buffer: Vec::new() }
    }

    /// Reads one message. Not to be called again after it was given up half-way.
    pub(crate) async fn receive(&mut self) -> Result<GuestMessage, FrameError> {
        let mut length = [0; 4];
        self.channel.read_exact(&mut length).await?;
        // The length is checked before anything is allocated for it.
        self.buffer.resize(parse_length(length)?, 0);
        self.channel.read_exact(&mut self.buffer).await?;
        decode(&self.buffer)
    }
}
