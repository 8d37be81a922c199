//! Where everything that happens becomes records, and records become frames.
//!
//! Records wait in a bounded queue. One thread, [`Recorder::send_all`], takes
//! them in batches and writes frames, never more than [`limits::WINDOW`] records
//! ahead of what the host has acknowledged. When the host is slow the queue
//! fills, whoever records waits, the pipe of the command fills, and the command
//! waits, too: nothing is lost and memory stays bounded. Only what exceeds the
//! job's log limit is dropped, and counted.
//!
//! The same thread sends what is said about streams to the network, a frame at a
//! time and only while no record is due: no download makes a log late.

use std::{
    collections::{BTreeSet, VecDeque},
    io::Write,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    lines::pieces,
    protocol::{
        Finished, FrameError, GuestMessage, Level, Network, Outcome, Record, SpanKind, Stage, Stream, limits,
        write_message,
    },
};

/// Records and bytes that wait before those who record must wait.
const QUEUE_RECORDS: usize = 8192;
const QUEUE_BYTES: usize = 4 << 20;
/// How long a record may wait for company in a frame.
const FLUSH: Duration = Duration::from_millis(50);
/// How long the guest is silent at most.
const ALIVE: Duration = Duration::from_secs(5);
/// Bytes of a batch's records: a frame is a little longer than they are.
const BATCH_BYTES: usize = limits::FRAME / 2;

/// Nanoseconds since 1970, UTC.
#[must_use]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// What is sent while no record is due.
pub trait Aside {
    /// The next message, if there is anything to say. Does not wait.
    fn next(&self) -> Option<Network>;
}

/// Nothing ever.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Aside for Nothing {
    fn next(&self) -> Option<Network> {
        None
    }
}

/// Takes records from many threads. Clones are the same recorder.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// There is room again, or an acknowledgement came, or the channel is gone.
    moved: Condvar,
    /// There is something to send.
    work: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Record>,
    queued_bytes: usize,
    /// Sequence number of the last record that was sent.
    sent: u64,
    acknowledged: u64,
    /// The host said what was known: it wants to hear that we live.
    knocked: bool,
    spans: u64,
    open: BTreeSet<u64>,
    log_bytes: u64,
    max_log_bytes: u64,
    dropped_lines: u64,
    finished: Option<Finished>,
    /// Nobody listens any more.
    gone: bool,
}

impl Default for Recorder {
    fn default() -> Self {
        let state = State { max_log_bytes: u64::MAX, ..State::default() };
        Self(Arc::new(Inner { state: Mutex::new(state), moved: Condvar::new(), work: Condvar::new() }))
    }
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the bytes of output after which lines are dropped.
    pub fn limit_log(&self, bytes: u64) {
        self.lock().max_log_bytes = bytes;
    }

    /// Opens a span. With too many spans already, the returned one is its
    /// parent in disguise: what it records is the parent's.
    #[must_use]
    pub fn open(&self, parent: Option<&Span>, new: NewSpan) -> Span {
        let mut state = self.lock();
        let parent = parent.map(|span| span.id);
        if state.spans as usize >= limits::SPANS
            && let Some(parent) = parent
        {
            return Span {
                id: parent,
                recorder: self.clone(),
                open: AtomicBool::new(false),
                notes: Mutex::default(),
            };
        }
        state.spans += 1;
        let id = state.spans;
        state.open.insert(id);
        let record = Record::SpanOpened {
            id,
            parent,
            kind: new.kind,
            stage: new.stage,
            name: bounded(new.name, limits::NAME),
            time: new.time.unwrap_or_else(now),
            attributes: bounded_attributes(new.attributes),
        };
        drop(self.push(state, record));
        Span { id, recorder: self.clone(), open: AtomicBool::new(true), notes: Mutex::default() }
    }

    /// Says something in front of everything else.
    pub fn message(
        &self,
        span: Option<&Span>,
        level: Level,
        text: &str,
        place: Option<(String, Option<u32>)>,
    ) {
        let (file, line) = place.map_or((None, None), |(file, line)| (Some(file), line));
        let record = Record::Message {
            span: span.map(|span| span.id),
            level,
            time: now(),
            text: bounded(text.to_owned(), limits::MESSAGE),
            file: file.map(|file| bounded(file, limits::VALUE)),
            line,
        };
        drop(self.push(self.lock(), record));
    }

    /// Waits until there is room, then queues the record.
    fn push<'a>(&'a self, mut state: MutexGuard<'a, State>, record: Record) -> MutexGuard<'a, State> {
        while !state.gone && (state.queue.len() >= QUEUE_RECORDS || state.queued_bytes >= QUEUE_BYTES) {
            state = self.0.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // After the end nothing may follow: a straggler's line is nobody's.
        if !state.gone && state.finished.is_none() {
            state.queued_bytes += size(&record);
            state.queue.push_back(record);
            self.0.work.notify_one();
        }
        state
    }

    fn lines(&self, span: u64, stream: Stream, lines: Vec<String>) {
        let time = now();
        let mut whole = Vec::with_capacity(lines.len());
        for line in lines {
            pieces(printable(line), limits::LINE, &mut |piece| whole.push(piece));
        }
        let mut state = self.lock();
        for text in whole {
            // Even an empty line costs something.
            let bytes = text.len() as u64 + 1;
            if stream != Stream::System && state.log_bytes.saturating_add(bytes) > state.max_log_bytes {
                state.dropped_lines += 1;
                if state.dropped_lines == 1 {
                    let limit = state.max_log_bytes;
                    state.log_bytes = limit;
                    let text = format!(
                        "the job wrote more than {limit} bytes: from here on, lines are counted and dropped"
                    );
                    state = self.push(state, Record::Line { span, stream: Stream::System, time, text });
                }
                continue;
            }
            if stream != Stream::System {
                state.log_bytes += bytes;
            }
            state = self.push(state, Record::Line { span, stream, time, text });
        }
    }

    fn close(&self, id: u64, outcome: Outcome, attributes: Vec<(String, String)>) {
        let mut state = self.lock();
        if state.open.remove(&id) {
            let attributes = bounded_attributes(attributes);
            let record = Record::SpanClosed { id, time: now(), outcome, attributes };
            drop(self.push(state, record));
        }
    }

    /// All records up to this one are durable. Said once more, it is a question
    /// whether we live.
    pub fn acknowledge(&self, sequence: u64) {
        let mut state = self.lock();
        state.knocked |= sequence <= state.acknowledged;
        state.acknowledged = state.acknowledged.max(sequence.min(state.sent));
        drop(state);
        self.0.moved.notify_all();
        self.0.work.notify_one();
    }

    /// Ends the stream: closes what is still open, and sends how it ended after
    /// everything that is queued.
    pub fn finish(&self, mut finished: Finished) {
        let open: Vec<u64> = self.lock().open.iter().rev().copied().collect();
        for id in open {
            self.close(id, finished.outcome, Vec::new());
        }
        let mut state = self.lock();
        finished.reason = bounded(finished.reason, limits::VALUE);
        finished.dropped_lines = state.dropped_lines;
        state.finished = Some(finished);
        drop(state);
        self.0.work.notify_one();
    }

    /// The channel is gone: nobody waits any more.
    pub fn abandon(&self) {
        self.lock().gone = true;
        self.0.moved.notify_all();
        self.0.work.notify_all();
    }

    /// Waits until the host has made every record durable.
    pub fn wait_acknowledged(&self, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        let mut state = self.lock();
        loop {
            if state.queue.is_empty() && state.acknowledged >= state.sent {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.gone || left.is_zero() {
                return false;
            }
            state = self.0.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// There is something to send aside.
    pub fn nudge(&self) {
        // Whoever sends has either seen it already, or waits.
        drop(self.lock());
        self.0.work.notify_one();
    }

    /// Writes frames until [`Recorder::finish`] has been called and every record
    /// is written.
    ///
    /// # Errors
    /// When the channel is broken; nobody waits in vain then.
    pub fn send_all(&self, mut channel: impl Write, aside: &impl Aside) -> Result<(), FrameError> {
        let result = self.send_until_finished(&mut channel, aside);
        if result.is_err() {
            self.abandon();
        }
        result
    }

    fn send_until_finished(&self, mut channel: impl Write, aside: &impl Aside) -> Result<(), FrameError> {
        let mut last_sent = Instant::now();
        let mut state = self.lock();
        loop {
            if state.gone {
                return Ok(());
            }
            let window = (state.acknowledged + limits::WINDOW).saturating_sub(state.sent);
            if state.queue.is_empty()
                && let Some(finished) = state.finished.take()
            {
                drop(state);
                return write_message(&mut channel, &GuestMessage::Finished(finished));
            }
            let since = last_sent.elapsed();
            let ready = !state.queue.is_empty() && window > 0;
            let full = state.queue.len() >= limits::RECORDS || state.queued_bytes >= BATCH_BYTES;
            if ready && (since >= FLUSH || full || state.finished.is_some()) {
                let (first, records) = take_batch(&mut state, window);
                drop(state);
                self.0.moved.notify_all();
                write_message(&mut channel, &GuestMessage::Records { first, records })?;
            } else if state.knocked || since >= ALIVE {
                state.knocked = false;
                drop(state);
                write_message(&mut channel, &GuestMessage::Alive)?;
            } else if let Some(message) = aside.next() {
                drop(state);
                write_message(&mut channel, &GuestMessage::Network(message))?;
                // Records wait for company as if nothing had been sent.
                state = self.lock();
                continue;
            } else {
                let wait = if ready { FLUSH - since } else { ALIVE - since };
                state = self.0.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            last_sent = Instant::now();
            state = self.lock();
        }
    }
}

fn take_batch(state: &mut State, window: u64) -> (u64, Vec<Record>) {
    let first = state.sent + 1;
    let most = usize::try_from(window).unwrap_or(usize::MAX).min(limits::RECORDS);
    let mut records = Vec::with_capacity(state.queue.len().min(most));
    let mut bytes = 0;
    while records.len() < most
        && let Some(next) = state.queue.front()
    {
        let size = size(next);
        if !records.is_empty() && bytes + size > BATCH_BYTES {
            break;
        }
        bytes += size;
        records.extend(state.queue.pop_front());
    }
    state.queued_bytes = state.queued_bytes.saturating_sub(bytes);
    state.sent += records.len() as u64;
    (first, records)
}

/// At least as many bytes as the record's encoding has.
fn size(record: &Record) -> usize {
    const FIXED: usize = 64;
    let pairs = |attributes: &[(String, String)]| -> usize {
        attributes.iter().map(|(key, value)| key.len() + value.len() + 10).sum()
    };
    FIXED
        + match record {
            Record::SpanOpened { name, attributes, .. } => name.len() + pairs(attributes),
            Record::SpanClosed { attributes, .. } => pairs(attributes),
            Record::Line { text, .. } => text.len(),
            Record::Message { text, file, .. } => text.len() + file.as_deref().map_or(0, str::len),
        }
}

/// A NUL is no text for a database.
fn printable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{FFFD}") } else { text }
}

/// What is longer is cut, visibly.
fn bounded(text: String, limit: usize) -> String {
    const MARK: &str = "…";
    let mut text = printable(text);
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit - MARK.len()));
        text.push_str(MARK);
    }
    text
}

fn bounded_attributes(attributes: Vec<(String, String)>) -> Vec<(String, String)> {
    let bound = |(key, value)| (bounded(key, limits::NAME), bounded(value, limits::VALUE));
    attributes.into_iter().take(limits::ATTRIBUTES).map(bound).collect()
}

/// What a span is made of.
#[derive(Clone, Debug)]
pub struct NewSpan {
    kind: SpanKind,
    stage: Option<Stage>,
    name: String,
    time: Option<u64>,
    attributes: Vec<(String, String)>,
}

impl NewSpan {
    /// A span of this kind and name.
    #[must_use]
    pub fn new(kind: SpanKind, name: impl Into<String>) -> Self {
        Self { kind, stage: None, name: name.into(), time: None, attributes: Vec::new() }
    }

    /// It is this stage.
    #[must_use]
    pub fn stage(mut self, stage: Stage) -> Self {
        self.stage = Some(stage);
        self
    }

    /// It has this attribute.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.attributes.push((key.to_owned(), value.into()));
        self
    }
}

/// An open span. One that is dropped without being closed was given up on:
/// [`Outcome::Error`].
#[derive(Debug)]
pub struct Span {
    id: u64,
    recorder: Recorder,
    open: AtomicBool,
    /// Attributes for its end.
    notes: Mutex<Vec<(String, String)>>,
}

impl Span {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Records lines of output.
    pub fn lines(&self, stream: Stream, lines: Vec<String>) {
        if !lines.is_empty() {
            self.recorder.lines(self.id, stream, lines);
        }
    }

    /// Records one line in the guest's own words.
    pub fn say(&self, text: impl Into<String>) {
        self.lines(Stream::System, vec![text.into()]);
    }

    /// A span inside of this one.
    #[must_use]
    pub fn open(&self, new: NewSpan) -> Self {
        self.recorder.open(Some(self), new)
    }

    /// Says something in front of everything else.
    pub fn message(&self, level: Level, text: &str, place: Option<(String, Option<u32>)>) {
        self.recorder.message(Some(self), level, text, place);
    }

    /// Remembers an attribute, which is sent when the span is closed.
    pub fn note(&self, key: &str, value: impl Into<String>) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push((key.to_owned(), value.into()));
    }

    /// Ends it, once: a second end changes nothing.
    pub fn close(&self, outcome: Outcome) {
        if self.open.swap(false, Ordering::Relaxed) {
            let notes = std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner));
            self.recorder.close(self.id, outcome, notes);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.close(Outcome::Error);
    }
}

#[cfg(test)]
mod tests;
