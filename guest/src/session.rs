//! The guest's side of the [`crate::protocol`]: answers the host's greeting, is
//! prepared, receives the one job, does it, says how it ended, and waits until
//! the host has it all. Before that it may be warmed up.

use std::{
    io::{self, Read, Write},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use crate::{
    cancel::Canceller,
    job::{self, Context},
    network::{self, Mux},
    protocol::{
        Finished, FrameError, GuestMessage, HostMessage, Level, Outcome, Prepare, read_hello, read_message,
        write_hello, write_message,
    },
    recorder::Recorder,
    world::World,
};

/// How long the host may take to make the last records durable.
const LAST_ACKNOWLEDGEMENT: Duration = Duration::from_secs(120);
/// Chunks of source that wait: the host sends no faster than Git unpacks.
const SOURCE_CHUNKS: usize = 8;

/// Why a session ended without its job.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The channel broke, or what came was no message.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The machine could not be made one of its own.
    #[error("cannot prepare the machine: {0}")]
    Prepare(#[source] io::Error),
    /// A message that may not come at this point.
    #[error("the host sent {0} where it may not come")]
    OutOfOrder(&'static str),
    /// The host hung up while the job ran.
    #[error("the host hung up")]
    HungUp,
    /// The host did not acknowledge the last records.
    #[error("the host did not acknowledge the last records in time")]
    Unacknowledged,
}

/// What a session lives in, before its job and with it.
pub trait Surroundings {
    /// Does what jobs do, `rounds` times, and leaves nothing of it behind.
    ///
    /// # Errors
    /// Why not, in words; nothing depends on it.
    fn warm(&mut self, rounds: u8) -> Result<(), String>;

    /// Makes the machine one of its own, and gives the world of its job.
    ///
    /// # Errors
    /// Without it there can be no job.
    fn prepare(self, values: &Prepare) -> io::Result<World>;
}

/// Speaks with the host until the job is done and acknowledged. When this
/// returns, whichever way, there is nothing left to do but to power off.
///
/// # Errors
/// As [`SessionError`] says.
pub fn run<R, W>(
    mut reader: R,
    mut writer: W,
    mut surroundings: impl Surroundings,
) -> Result<(), SessionError>
where
    R: Read + Send + 'static,
    W: Write + Send + 'static,
{
    let mut world = loop {
        let greeting = read_hello(&mut reader);
        // Also to a host of another version: it wants to know which one we are.
        write_hello(&mut writer)?;
        greeting?;
        match read_message(&mut reader)? {
            HostMessage::Warm { rounds } => {
                let problem = surroundings.warm(rounds).err();
                write_message(&mut writer, &GuestMessage::Warmed { problem })?;
            }
            HostMessage::Prepare(values) => {
                break surroundings.prepare(&values).map_err(SessionError::Prepare)?;
            }
            other => return Err(SessionError::OutOfOrder(name(&other))),
        }
    };
    write_message(&mut writer, &GuestMessage::Ready)?;
    let job = match read_message(&mut reader)? {
        HostMessage::Job(job) => *job,
        other => return Err(SessionError::OutOfOrder(name(&other))),
    };
    let recorder = Recorder::default();
    let mux = Mux::new(recorder.clone());
    let proxy = network::start(world.proxy, mux.clone());
    if job.network
        && let Ok(address) = proxy
    {
        world.env.extend(network::environment(address));
    }
    let context =
        Context { world: Arc::new(world), job: Arc::new(job), recorder, canceller: Canceller::default() };
    let (source, chunks) = mpsc::sync_channel(SOURCE_CHUNKS);
    let (event, events) = mpsc::channel();

    if let Err(error) = proxy {
        let words = format!("the proxy to the network cannot be started: {error}");
        context.recorder.message(None, Level::Warning, &words, None);
    }

    let (ended, from, streams) = (event.clone(), context.clone(), mux.clone());
    thread::spawn(move || {
        let error = listen(&mut reader, &from, &streams, source);
        // Before the sender notices, and also when the session has ended already.
        let _ = ended.send(Err(error));
        from.recorder.abandon();
        streams.abandon();
        from.canceller.cancel(Duration::ZERO);
    });
    let (sent, recorder) = (event, context.recorder.clone());
    thread::spawn(move || {
        let result = recorder.send_all(&mut writer, &mux);
        // Nothing leaves any more.
        mux.abandon();
        let _ = sent.send(result.map_err(SessionError::from));
    });
    let recorder = context.recorder.clone();
    thread::spawn(move || {
        let recorder = context.recorder.clone();
        recorder.finish(do_job(context, chunks));
    });
    // The first to end is the sender, when the end is written, or the listener,
    // when the host is gone.
    events.recv().map_err(|_| SessionError::HungUp)??;
    if recorder.wait_acknowledged(LAST_ACKNOWLEDGEMENT) { Ok(()) } else { Err(SessionError::Unacknowledged) }
}

/// Does the job on a thread of its own, so that even a defect of the guest has
/// an end that can be reported.
fn do_job(context: Context, chunks: mpsc::Receiver<Vec<u8>>) -> Finished {
    let job = thread::spawn(move || job::run(&context, chunks));
    job.join().unwrap_or_else(|_| Finished {
        outcome: Outcome::Error,
        reason: "the guest has a defect and gave up; the machine's console says where".to_owned(),
        exit_status: None,
        dropped_lines: 0,
    })
}

/// Hears what the host says until the channel ends.
fn listen(
    mut reader: impl Read,
    context: &Context,
    streams: &Mux,
    source: mpsc::SyncSender<Vec<u8>>,
) -> SessionError {
    let mut source = Some(source);
    let mut complete = false;
    loop {
        match read_message(&mut reader) {
            Ok(HostMessage::Source(_) | HostMessage::SourceEnd) if complete => {
                return SessionError::OutOfOrder("more source after its end");
            }
            Ok(HostMessage::Source(bytes)) => {
                // Nobody takes it when the checkout has failed, or was cancelled.
                source = source.filter(|source| source.send(bytes).is_ok());
            }
            Ok(HostMessage::SourceEnd) => {
                source = None;
                complete = true;
            }
            Ok(HostMessage::Acknowledge(sequence)) => context.recorder.acknowledge(sequence),
            Ok(HostMessage::Cancel { grace_ms }) => {
                source = None;
                context.canceller.cancel(Duration::from_millis(grace_ms.into()));
            }
            Ok(HostMessage::Network(message)) => {
                if streams.receive(message).is_err() {
                    return SessionError::OutOfOrder("something about a stream");
                }
            }
            Ok(other) => return SessionError::OutOfOrder(name(&other)),
            Err(FrameError::Io(_)) => return SessionError::HungUp,
            Err(error) => return error.into(),
        }
    }
}

fn name(message: &HostMessage) -> &'static str {
    match message {
        HostMessage::Warm { .. } => "Warm",
        HostMessage::Prepare(_) => "Prepare",
        HostMessage::Job(_) => "Job",
        HostMessage::Source(_) => "Source",
        HostMessage::SourceEnd => "SourceEnd",
        HostMessage::Acknowledge(_) => "Acknowledge",
        HostMessage::Cancel { .. } => "Cancel",
        HostMessage::Network(_) => "Network",
    }
}
