//! The streams of one job. Each has a task that reaches its host and passes bytes
//! on; all of them end with the job.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use devenv_cloud_guest::{
    protocol::{self, Why, limits},
    streams::{Read, Reset, Side, Streams, Wanted, Write},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, split},
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Egress, Network,
    accounts::Accounts,
    destination::{Destination, Host},
    outside::Connection,
    policy::{Rules, choose},
};

/// Streams that are opened at once, and then each second: more of them wait.
const BURST: u32 = 200;
const EACH_SECOND: u32 = 50;
/// How far ahead of its turns a guest may open streams. Those that wait are few;
/// only whoever gives up what it has just asked for, again and again, gets there.
const AHEAD: Duration = Duration::from_secs(60);
/// How long a name may take to be resolved.
const RESOLVE: Duration = Duration::from_secs(20);
/// How long an address may take to answer, and how many are tried.
const CONNECT: Duration = Duration::from_secs(15);
const ADDRESSES: usize = 4;
/// How long a host may take nothing of what it is sent.
const STALLED: Duration = Duration::from_secs(300);

/// The network of one job. Ends its streams when it is dropped.
pub(in crate::executor) struct JobNetwork(Arc<Shared>);

impl Drop for JobNetwork {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Shared {
    egress: Egress,
    rules: Rules,
    state: Mutex<State>,
    /// There may be something to say to the guest.
    to_say: Notify,
}

struct State {
    streams: Streams,
    tasks: HashMap<u32, Task>,
    accounts: Accounts,
    turns: Turns,
    /// The job is over: no task is started any more.
    stopped: bool,
}

struct Task {
    abort: AbortHandle,
    moved: Arc<Moved>,
}

/// Wakes a task: something of its stream came, or went.
#[derive(Default)]
struct Moved {
    came: Notify,
    went: Notify,
}

/// Gives each new stream the moment from which it may be reached.
struct Turns {
    next: Instant,
}

impl Turns {
    const ONE: Duration = Duration::from_millis(1000 / EACH_SECOND as u64);

    fn new() -> Self {
        Self { next: Self::earliest() }
    }

    /// Turns that nobody took may be made up for, so many of them.
    fn earliest() -> Instant {
        let now = Instant::now();
        now.checked_sub(Self::ONE * (BURST - 1)).unwrap_or(now)
    }

    fn take(&mut self) -> Instant {
        let turn = self.next.max(Self::earliest());
        self.next = turn + Self::ONE;
        turn
    }
}

/// A connection that is not made: what the guest is told.
fn refused(words: String) -> Reset {
    Reset { why: Why::Refused, words }
}

fn unreachable(words: String) -> Reset {
    Reset { why: Why::Unreachable, words }
}

impl JobNetwork {
    pub(in crate::executor) fn new(egress: &Egress, network: &Network) -> Self {
        let rules = Rules::new(network, egress.internal.to_vec(), egress.off);
        let state = State {
            streams: Streams::new(Side::Host),
            tasks: HashMap::new(),
            accounts: Accounts::default(),
            turns: Turns::new(),
            stopped: false,
        };
        let (egress, state) = (egress.clone(), Mutex::new(state));
        Self(Arc::new(Shared { egress, rules, state, to_say: Notify::new() }))
    }

    /// Takes a message of the guest. Does not wait for anything.
    ///
    /// # Errors
    /// When the guest may not say it.
    pub(in crate::executor) fn receive(&self, message: protocol::Network) -> Result<(), String> {
        let stream = message.stream();
        let mut state = self.0.lock();
        let wanted = state.streams.receive(message).map_err(|violation| violation.to_string())?;
        if let Some(task) = state.tasks.get(&stream) {
            task.moved.came.notify_one();
            task.moved.went.notify_one();
        }
        if let Some(wanted) = wanted
            && !state.stopped
        {
            let turn = state.turns.take();
            if turn > Instant::now() + AHEAD {
                return Err(format!("opened more than {EACH_SECOND} streams a second, and gave them up"));
            }
            let moved = Arc::new(Moved::default());
            let work = Work { shared: self.0.clone(), id: stream, moved: moved.clone() };
            let abort = tokio::spawn(async move { work.run(wanted, turn).await }).abort_handle();
            state.tasks.insert(stream, Task { abort, moved });
        }
        drop(state);
        self.0.to_say.notify_one();
        Ok(())
    }

    /// The next message for the guest.
    pub(in crate::executor) async fn next(&self) -> protocol::Network {
        loop {
            if let Some(message) = self.0.next() {
                return message;
            }
            self.0.to_say.notified().await;
        }
    }

    /// Ends all streams.
    pub(in crate::executor) fn stop(&self) {
        let tasks: Vec<AbortHandle> = {
            let mut state = self.0.lock();
            state.stopped = true;
            state.tasks.values().map(|task| task.abort.clone()).collect()
        };
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Whether the job has tried to reach anything.
    pub(in crate::executor) fn is_used(&self) -> bool {
        self.0.lock().streams.any()
    }

    /// What people should see, since the last time.
    pub(in crate::executor) fn news(&self) -> Vec<String> {
        self.0.lock().accounts.news()
    }

    /// What was done, as attributes of a span.
    pub(in crate::executor) fn attributes(&self) -> BTreeMap<String, String> {
        self.0.lock().accounts.attributes()
    }

    #[cfg(test)]
    pub(super) fn waiting_bytes(&self) -> usize {
        self.0.lock().streams.waiting_bytes()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<protocol::Network> {
        let mut state = self.lock();
        let message = state.streams.say()?;
        if let Some(task) = state.tasks.get(&message.stream()) {
            task.moved.went.notify_one();
        }
        Some(message)
    }

    /// Connects to the host, if the job may.
    async fn reach(&self, to: &Destination) -> Result<Box<dyn Connection>, Reset> {
        let reach = self.rules.allow(to).map_err(refused)?;
        let outside = &self.egress.outside;
        let addresses = match &to.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                let resolved = timeout(RESOLVE, async {
                    // Never closed.
                    let _one = self.egress.lookups.acquire().await;
                    outside.resolve(name).await
                });
                resolved
                    .await
                    .map_err(|_| {
                        unreachable(format!("{name} was not resolved within {} s", RESOLVE.as_secs()))
                    })?
                    .map_err(|error| unreachable(format!("{name} cannot be resolved: {error}")))?
            }
        };
        if addresses.is_empty() {
            return Err(unreachable(format!("{} has no address", to.host)));
        }
        let addresses = choose(to, reach, addresses, |address| outside.is_own(address)).map_err(refused)?;
        let mut why = String::new();
        // Each as it was checked: nothing is resolved a second time.
        for address in addresses.into_iter().take(ADDRESSES) {
            match timeout(CONNECT, outside.connect(SocketAddr::new(address, to.port))).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => why = error.to_string(),
                Err(_) => why = format!("no answer within {} s", CONNECT.as_secs()),
            }
        }
        Err(unreachable(format!("{to} cannot be reached: {why}")))
    }
}

/// One stream's task.
struct Work {
    shared: Arc<Shared>,
    id: u32,
    moved: Arc<Moved>,
}

impl Drop for Work {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.streams.close(self.id);
        state.tasks.remove(&self.id);
        drop(state);
        self.shared.to_say.notify_one();
    }
}

impl Work {
    async fn run(self, wanted: Wanted, turn: Instant) {
        let to = Host::parse(&wanted.host).map(|host| Destination { host, port: wanted.port });
        let name = match &to {
            Ok(to) => to.to_string(),
            Err(_) => format!("{}:{}", wanted.host.escape_debug(), wanted.port),
        };
        let reached = match to {
            Ok(to) => {
                let reach = async {
                    sleep_until(turn).await;
                    self.shared.reach(&to).await
                };
                tokio::select! {
                    reached = reach => reached,
                    // Whoever wanted it does not any more.
                    () = self.given_up() => return,
                }
            }
            Err(words) => Err(refused(words)),
        };
        let connection = match reached {
            Ok(connection) => connection,
            Err(reset) => {
                let mut state = self.shared.lock();
                state.accounts.refused(&name, &reset.words);
                state.streams.reset(self.id, reset);
                return;
            }
        };
        {
            let mut state = self.shared.lock();
            state.accounts.connected(&name);
            state.streams.opened(self.id);
        }
        self.shared.to_say.notify_one();
        if let Err(error) = self.relay(connection, &name).await {
            let words = format!("the connection to {name} broke: {error}");
            self.shared.lock().streams.reset(self.id, Reset { why: Why::Broken, words });
        }
    }

    /// Completes when the guest has ended the stream.
    async fn given_up(&self) {
        while !self.shared.lock().streams.is_given_up(self.id) {
            self.moved.came.notified().await;
        }
    }

    /// Passes bytes on in both directions until both have ended.
    async fn relay(&self, connection: Box<dyn Connection>, name: &str) -> io::Result<()> {
        let (mut read, mut write) = split(connection);
        let up = async {
            loop {
                let found = self.shared.lock().streams.read(self.id);
                match found {
                    Read::Data(bytes) => {
                        self.shared.to_say.notify_one();
                        self.shared.lock().accounts.sent(name, bytes.len());
                        let stalled = || io::Error::other("it took nothing for 5 minutes");
                        timeout(STALLED, write.write_all(&bytes)).await.map_err(|_| stalled())??;
                    }
                    Read::End => {
                        // One that is gone has taken all that it will.
                        let _ = write.shutdown().await;
                        return Ok(());
                    }
                    Read::Reset(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                    Read::Wait => self.moved.came.notified().await,
                }
            }
        };
        let down = async {
            let mut buffer = vec![0; limits::STREAM_CHUNK];
            loop {
                let count = read.read(&mut buffer).await?;
                if count == 0 {
                    self.shared.lock().streams.end(self.id);
                    self.shared.to_say.notify_one();
                    return Ok(());
                }
                self.shared.lock().accounts.received(name, count);
                loop {
                    let written = self.shared.lock().streams.write(self.id, &buffer[..count]);
                    match written {
                        Write::Taken => break,
                        Write::Over(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                        Write::Wait => self.moved.went.notified().await,
                    }
                }
                self.shared.to_say.notify_one();
            }
        };
        tokio::try_join!(up, down).map(|_: ((), ())| ())
    }
}
