//! What QEMU says about a machine, over its control channel (QMP).

use std::{
    collections::BTreeMap,
    io::{self, IoSlice, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// Bytes of one line; QEMU is ours, but the guest may have taken it over.
const LINE: u64 = 64 << 10;

/// Before any other command.
const CAPABILITIES: &[u8] = b"{\"execute\":\"qmp_capabilities\"}\n";

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

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    event: String,
    #[serde(default)]
    data: Data,
    #[serde(default)]
    id: Option<u64>,
    #[serde(default, rename = "return")]
    result: Value,
    #[serde(default)]
    error: Option<Refused>,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    nospace: bool,
}

#[derive(Deserialize)]
struct Refused {
    desc: String,
}

type Answer = Result<Value, String>;

/// What the reader of the channel knows.
#[derive(Debug, Default)]
struct Known {
    events: Events,
    /// Who waits for which answer.
    asked: BTreeMap<u64, oneshot::Sender<Answer>>,
    /// The channel has ended: nobody need wait for an answer.
    ended: bool,
    last_id: u64,
}

/// QEMU's control channel.
#[derive(Debug)]
pub(super) struct Control {
    known: Arc<Mutex<Known>>,
    commands: mpsc::UnboundedSender<Vec<u8>>,
    following: Option<JoinHandle<()>>,
}

impl Control {
    /// Speaks to a QEMU that may not even run yet: what is sent waits for it.
    pub(super) fn new(channel: StdUnixStream) -> io::Result<Self> {
        (&channel).write_all(CAPABILITIES)?;
        Self::follow(channel)
    }

    /// As [`Control::new`], and hands it a file under a name.
    pub(super) fn with_file(channel: StdUnixStream, name: &str, file: impl AsFd) -> io::Result<Self> {
        (&channel).write_all(CAPABILITIES)?;
        let command = format!("{}\n", json!({ "execute": "getfd", "arguments": { "fdname": name } }));
        send_with(&channel, command.as_bytes(), file.as_fd())?;
        Self::follow(channel)
    }

    fn follow(channel: StdUnixStream) -> io::Result<Self> {
        let (read, write) = super::to_async(channel)?.into_split();
        let known = Arc::<Mutex<Known>>::default();
        let (commands, told) = mpsc::unbounded_channel();
        tokio::spawn(tell(write, told));
        let following = tokio::spawn(hear(read, known.clone(), commands.downgrade()));
        Ok(Self { known, commands, following: Some(following) })
    }

    /// Sends a command, and waits for no answer.
    pub(super) fn tell(&self, command: &str, arguments: Value) {
        let text = json!({ "execute": command, "arguments": arguments });
        // When QEMU is gone, its life says so.
        drop(self.commands.send(format!("{text}\n").into_bytes()));
    }

    /// Sends a command, and gives its answer.
    pub(super) async fn ask(&self, command: &str, arguments: Value) -> Answer {
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut known = lock(&self.known);
            if known.ended {
                return Err(GONE.to_owned());
            }
            known.last_id += 1;
            let id = known.last_id;
            known.asked.insert(id, answer);
            id
        };
        let text = json!({ "execute": command, "arguments": arguments, "id": id });
        drop(self.commands.send(format!("{text}\n").into_bytes()));
        answered.await.unwrap_or_else(|_| Err(GONE.to_owned()))
    }

    /// All that was said, when nothing more will come.
    pub(super) async fn last_events(&mut self) -> Events {
        if let Some(following) = self.following.take() {
            drop(tokio::time::timeout(Duration::from_secs(1), following).await);
        }
        lock(&self.known).events
    }
}

const GONE: &str = "QEMU has ended";

fn lock(known: &Mutex<Known>) -> std::sync::MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends bytes with a descriptor beside them.
fn send_with(channel: &StdUnixStream, bytes: &[u8], file: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let files = [file];
    if !beside.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    let sent = rustix::net::sendmsg(channel, &[IoSlice::new(bytes)], &mut beside, SendFlags::empty())?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

async fn tell(mut write: OwnedWriteHalf, mut told: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(command) = told.recv().await {
        if write.write_all(&command).await.is_err() {
            return;
        }
    }
}

/// Hears the channel until it ends.
async fn hear(read: OwnedReadHalf, known: Arc<Mutex<Known>>, commands: mpsc::WeakUnboundedSender<Vec<u8>>) {
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut read).take(LINE).read_until(b'\n', &mut line).await {
            Ok(1..) if line.ends_with(b"\n") => {}
            _ => break,
        }
        let Ok(message) = serde_json::from_slice::<Message>(&line) else { continue };
        let mut known = lock(&known);
        if let Some(asked) = message.id.and_then(|id| known.asked.remove(&id)) {
            let refused = message.error.map(|error| error.desc);
            drop(asked.send(refused.map_or_else(|| Ok(message.result), Err)));
        } else if let Some(refused) = message.error {
            tracing::warn!(words = refused.desc, "QEMU refused a command");
        } else if note(&message, &mut known.events).is_some()
            && let Some(commands) = commands.upgrade()
        {
            // QEMU has stopped the machine and would wait for ever.
            drop(commands.send(b"{\"execute\":\"quit\"}\n".to_vec()));
        }
    }
    let mut known = lock(&known);
    known.ended = true;
    known.asked.clear();
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
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        let mut theirs = crate::executor::machine::to_async(theirs).unwrap();
        let mut control = Control::new(ours).unwrap();
        theirs.write_all(lines.as_bytes()).await.unwrap();
        theirs.shutdown().await.unwrap();
        let events = control.last_events().await;
        drop(control);
        let mut answers = String::new();
        // Reset, when we hung up on them.
        drop(theirs.read_to_string(&mut answers).await);
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

    #[tokio::test]
    async fn answers_find_who_asked_and_an_end_is_an_answer() {
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        let mut theirs = BufReader::new(crate::executor::machine::to_async(theirs).unwrap());
        let control = Control::new(ours).unwrap();
        let qemu = async {
            let mut lines = Vec::new();
            for _ in 0..3 {
                let mut line = String::new();
                theirs.read_line(&mut line).await.unwrap();
                lines.push(line);
            }
            let answers =
                "{\"return\": {}}\n{\"id\": 2, \"error\": {\"desc\": \"no\"}}\n{\"id\": 1, \"return\": 7}\n";
            theirs.write_all(answers.as_bytes()).await.unwrap();
            lines
        };
        let (one, two, lines) =
            tokio::join!(control.ask("first", json!({})), control.ask("second", json!({})), qemu);
        assert_eq!((one, two), (Ok(json!(7)), Err("no".to_owned())));
        assert!(lines[0].contains("qmp_capabilities"), "{lines:?}");
        drop(theirs);
        assert_eq!(control.ask("third", json!({})).await, Err(GONE.to_owned()));
    }

    #[tokio::test]
    async fn a_file_goes_with_its_name() {
        use std::os::fd::AsRawFd as _;

        let (ours, theirs) = StdUnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        let _control = Control::with_file(ours, "state", &file).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = rustix::net::RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 512];
        let mut got = Vec::new();
        let mut files = 0;
        while !String::from_utf8_lossy(&got).contains("getfd") {
            let mut slices = [io::IoSliceMut::new(&mut bytes)];
            let flags = rustix::net::RecvFlags::empty();
            let n = rustix::net::recvmsg(&theirs, &mut slices, &mut beside, flags).unwrap().bytes;
            got.extend_from_slice(&bytes[..n]);
            for message in beside.drain() {
                if let rustix::net::RecvAncillaryMessage::ScmRights(descriptors) = message {
                    files += descriptors.inspect(|fd| assert!(fd.as_raw_fd() > 2)).count();
                }
            }
        }
        assert_eq!(files, 1);
    }
}
