//! What QEMU says about a machine, over its control channel (QMP).

use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

/// Bytes of one line; QEMU is ours, but the guest may have taken it over.
const LINE: u64 = 64 << 10;

/// What became of a machine, as far as QEMU said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Events {
    /// The guest switched itself off.
    pub(super) powered_off: bool,
    /// The guest's kernel gave up: with `panic=-1` it resets, and `-no-reboot`
    /// makes that the end.
    pub(super) panicked: bool,
    /// A write failed for lack of room.
    pub(super) disk_full: bool,
}

/// The events of a machine, while they come in.
pub(super) type SharedEvents = Arc<Mutex<Events>>;

#[derive(Deserialize)]
struct Message {
    #[serde(default, rename = "QMP")]
    greeting: Option<serde_json::Value>,
    #[serde(default)]
    event: String,
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    nospace: bool,
}

/// Follows the channel until it ends.
pub(super) async fn follow(channel: UnixStream, events: SharedEvents) {
    let (read, mut write) = channel.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut read).take(LINE).read_until(b'\n', &mut line).await {
            Ok(1..) if line.ends_with(b"\n") => {}
            _ => return,
        }
        let Ok(message) = serde_json::from_slice::<Message>(&line) else { continue };
        let answer: &[u8] = if message.greeting.is_some() {
            b"{\"execute\":\"qmp_capabilities\"}\n"
        } else {
            match note(&message, &mut events.lock().unwrap_or_else(PoisonError::into_inner)) {
                // QEMU has stopped the machine and would wait for ever.
                Some(()) => b"{\"execute\":\"quit\"}\n",
                None => continue,
            }
        };
        if write.write_all(answer).await.is_err() {
            return;
        }
    }
}

/// Notes an event; `Some` when the machine must end because of it.
fn note(message: &Message, events: &mut Events) -> Option<()> {
    match message.event.as_str() {
        "SHUTDOWN" if message.data.reason == "guest-shutdown" => events.powered_off = true,
        "SHUTDOWN" if message.data.reason == "guest-reset" || message.data.reason == "guest-panic" => {
            events.panicked = true;
        }
        "GUEST_PANICKED" => events.panicked = true,
        "BLOCK_IO_ERROR" if message.data.nospace => {
            events.disk_full = true;
            return Some(());
        }
        _ => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn after(lines: &str) -> (Events, String) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let events = SharedEvents::default();
        let following = tokio::spawn(follow(ours, events.clone()));
        theirs.write_all(lines.as_bytes()).await.unwrap();
        theirs.shutdown().await.unwrap();
        following.await.unwrap();
        let mut answers = String::new();
        // Reset, when we hung up on them.
        drop(theirs.read_to_string(&mut answers).await);
        let events = *events.lock().unwrap();
        (events, answers)
    }

    const GREETING: &str =
        "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n{\"return\": {}}\r\n";

    #[tokio::test]
    async fn ends_are_told_apart() {
        let shutdown = |reason| {
            format!(
                "{GREETING}{{\"timestamp\": {{}}, \"event\": \"SHUTDOWN\", \"data\": {{\"guest\": true, \"reason\": \
                 \"{reason}\"}}}}\r\n"
            )
        };
        let (events, answers) = after(&shutdown("guest-shutdown")).await;
        assert_eq!(events, Events { powered_off: true, ..Events::default() });
        assert!(answers.contains("qmp_capabilities"), "{answers}");
        let (events, _) = after(&shutdown("guest-reset")).await;
        assert_eq!(events, Events { panicked: true, ..Events::default() });
        let (events, _) = after(&shutdown("host-signal")).await;
        assert_eq!(events, Events::default());
    }

    #[tokio::test]
    async fn a_full_disk_ends_the_machine() {
        let (events, answers) = after(
            "{\"event\": \"BLOCK_IO_ERROR\", \"data\": {\"nospace\": true, \"reason\": \"No space\"}}\n",
        )
        .await;
        assert!(events.disk_full && answers.contains("quit"), "{answers}");
    }

    #[tokio::test]
    async fn rubbish_and_endless_lines_do_no_harm() {
        let (events, _) = after(&format!("rubbish\n{{}}\n[1]\n{}", "x".repeat(100_000))).await;
        assert_eq!(events, Events::default());
    }
}
