//! Many streams over one channel: the state of all of them, the same at both
//! ends, without any input or output of its own.
//!
//! What arrives goes through [`Streams::receive`], what is to be sent comes from
//! [`Streams::say`], and in between each stream has a local side that reads,
//! writes and closes. Nothing here waits: a local side that has to is told so,
//! and whoever owns this wakes it when a message about its stream came or went.
//!
//! Everything is bounded. A side sends no more than it has credit for, and gets
//! credit only for what was taken from the other end, so that of each stream at
//! most [`limits::STREAM_WINDOW`] bytes wait here, plus what is about to be sent.
//! Messages are not queued but made from the state when there is room for one,
//! one stream after the other, so that no stream can crowd out another.
//!
//! A stream is over when both sides have said a last word: `End`, after which a
//! side still listens, or `Reset`, after which it does not. Whoever is reset
//! answers with a reset unless its last word was said. Until then its number is
//! taken, and what the other side sent before it knew is thrown away. So data for
//! a stream that is over is never an accident, and only `Credit` and `Reset` can
//! have crossed a last word.

use std::collections::{HashMap, VecDeque};

use crate::protocol::{Network, Why, limits};

/// Which end of the channel this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Opens streams.
    Guest,
    /// Reaches what is asked for.
    Host,
}

/// What the other side may not do, as a clause after "the machine ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(String);

/// Why a stream is over before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// What kind of end it is.
    pub why: Why,
    /// One sentence.
    pub words: String,
}

impl Reset {
    fn nobody_cares() -> Self {
        Self { why: Why::Broken, words: String::new() }
    }
}

/// What a local side finds when it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Bytes.
    Data(Vec<u8>),
    /// Nothing more will come.
    End,
    /// The other side ended it.
    Reset(Reset),
    /// Nothing yet.
    Wait,
}

/// What came of writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// It will be sent.
    Taken,
    /// There is no room yet; nothing was taken.
    Wait,
    /// The stream is over: nobody would receive it.
    Over(Reset),
}

/// Whether a stream is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It is.
    Opened,
    /// It never will be.
    Reset(Reset),
    /// Not yet.
    Wait,
}

/// A host that the other side wants to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The stream's number.
    pub stream: u32,
    /// The host, as it was said.
    pub host: String,
    /// The port.
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Last {
    End,
    Reset(Reset),
}

#[derive(Debug)]
struct Stream {
    /// To be said first: whom to reach.
    open: Option<(String, u16)>,
    opened: bool,
    /// That it is open is still to be said.
    say_opened: bool,
    /// Whether somebody here reads and writes.
    local: bool,
    arrived: VecDeque<Vec<u8>>,
    /// What the other side may still send.
    their_credit: u32,
    /// What was taken and not yet told.
    taken: u32,
    their_last: Option<Last>,
    outgoing: VecDeque<u8>,
    /// What we may still send.
    credit: u32,
    our_last: Option<Last>,
    /// A last word of ours was said, and whether it was a reset.
    said: Option<bool>,
    /// It stands in the row of those that have something to say.
    in_row: bool,
}

impl Stream {
    fn new(open: Option<(String, u16)>) -> Self {
        Self {
            open,
            opened: false,
            say_opened: false,
            local: true,
            arrived: VecDeque::new(),
            their_credit: limits::STREAM_WINDOW,
            taken: 0,
            their_last: None,
            outgoing: VecDeque::new(),
            credit: limits::STREAM_WINDOW,
            our_last: None,
            said: None,
            in_row: false,
        }
    }

    fn is_over(&self) -> bool {
        self.said.is_some() && self.their_last.is_some()
    }

    fn reset(&mut self, reset: Reset) {
        if matches!(self.our_last, Some(Last::Reset(_))) {
            return;
        }
        self.our_last = Some(Last::Reset(reset));
        self.say_opened = false;
        self.outgoing = VecDeque::new();
        self.arrived = VecDeque::new();
    }

    /// The next thing to say, if there is any.
    fn next(&mut self, stream: u32) -> Option<Network> {
        if let Some((host, port)) = self.open.take() {
            return Some(Network::Open { stream, host, port });
        }
        if std::mem::take(&mut self.say_opened) {
            return Some(Network::Opened { stream });
        }
        if let Some(Last::Reset(reset)) = &self.our_last {
            // After an end, it is news only while the other side may still send.
            if self.said == Some(true) || self.is_over() {
                return None;
            }
            self.said = Some(true);
            let Reset { why, words } = reset.clone();
            return Some(Network::Reset { stream, why, words });
        }
        if self.taken >= limits::STREAM_WINDOW / 2 && self.their_last.is_none() {
            let bytes = std::mem::take(&mut self.taken);
            self.their_credit += bytes;
            return Some(Network::Credit { stream, bytes });
        }
        let most = self.outgoing.len().min(limits::STREAM_CHUNK).min(self.credit as usize);
        if most > 0 {
            self.credit -= u32::try_from(most).unwrap_or(0);
            return Some(Network::Data { stream, bytes: self.outgoing.drain(..most).collect() });
        }
        if self.outgoing.is_empty() && self.our_last == Some(Last::End) && self.said.is_none() {
            self.said = Some(false);
            return Some(Network::End { stream });
        }
        None
    }
}

/// All streams of a machine.
#[derive(Debug)]
pub struct Streams {
    side: Side,
    /// The highest number so far.
    last: u32,
    streams: HashMap<u32, Stream>,
    /// Those that may have something to say.
    row: VecDeque<u32>,
    /// How many there were so far.
    opened: u64,
    /// How often the other side spoke of one that was over.
    stale: u64,
}

/// How often the other side can speak of a stream before it hears that it is over:
/// two credits, which are half a window at least, and a reset.
const STALE: u64 = 3;

macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err(Violation(format!($($words)+)));
        }
    };
}

impl Streams {
    /// None so far.
    #[must_use]
    pub fn new(side: Side) -> Self {
        Self { side, last: 0, streams: HashMap::new(), row: VecDeque::new(), opened: 0, stale: 0 }
    }

    /// Whether there ever was one.
    #[must_use]
    pub fn any(&self) -> bool {
        self.last > 0
    }

    /// Whether the other side has ended it early.
    #[must_use]
    pub fn is_given_up(&self, id: u32) -> bool {
        self.streams.get(&id).is_none_or(|stream| matches!(stream.their_last, Some(Last::Reset(_))))
    }

    /// How many are not over.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.streams.values().filter(|stream| !stream.is_over()).count()
    }

    /// How many have somebody here who reads and writes.
    fn local_count(&self) -> usize {
        self.streams.values().filter(|stream| stream.local).count()
    }

    /// Bytes that wait here, of all streams.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        let of = |stream: &Stream| stream.arrived.iter().map(Vec::len).sum::<usize>() + stream.outgoing.len();
        self.streams.values().map(of).sum()
    }

    fn stand_in_row(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !std::mem::replace(&mut stream.in_row, true)
        {
            self.row.push_back(id);
        }
    }

    fn forget_if_done(&mut self, id: u32) {
        if self.streams.get(&id).is_some_and(|stream| stream.is_over() && !stream.local) {
            self.streams.remove(&id);
        }
    }

    /// Changes a stream that is there, and lets it speak.
    fn change<T>(&mut self, id: u32, change: impl FnOnce(&mut Stream) -> T) -> Option<T> {
        let result = change(self.streams.get_mut(&id)?);
        self.stand_in_row(id);
        self.forget_if_done(id);
        Some(result)
    }

    /// The next message, if there is anything to say.
    pub fn say(&mut self) -> Option<Network> {
        while let Some(id) = self.row.pop_front() {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.in_row = false;
            let Some(message) = stream.next(id) else { continue };
            // Others first.
            self.stand_in_row(id);
            self.forget_if_done(id);
            return Some(message);
        }
        None
    }

    /// Takes a message of the other side. What is returned is for the host: whom
    /// the guest wants to reach.
    ///
    /// # Errors
    /// When the other side may not say it.
    pub fn receive(&mut self, message: Network) -> Result<Option<Wanted>, Violation> {
        let id = message.stream();
        if let Network::Open { stream, host, port } = message {
            return self.receive_open(Wanted { stream, host, port });
        }
        ensure!(id <= self.last, "spoke of stream {id}, which it never opened");
        let known = self.streams.contains_key(&id);
        if !known && matches!(message, Network::Credit { .. } | Network::Reset { .. }) {
            self.stale += 1;
            ensure!(
                self.stale <= self.opened * STALE,
                "spoke {} times of streams that were over",
                self.stale
            );
            return Ok(None);
        }
        match message {
            Network::Open { .. } => {}
            Network::Opened { .. } => {
                ensure!(
                    self.side == Side::Guest,
                    "said that stream {id} is open, which is the host's to say"
                );
                self.change(id, |stream| stream.opened = true);
            }
            Network::Data { bytes, .. } => {
                let Some(stream) = self.streams.get_mut(&id) else {
                    return Err(Violation(format!("sent data for stream {id}, which was over")));
                };
                ensure!(stream.their_last.is_none(), "sent data for stream {id} after its end");
                let count = bytes.len();
                ensure!(
                    count > 0 && count <= limits::STREAM_CHUNK,
                    "sent {count} bytes of a stream in one frame"
                );
                let rest = u32::try_from(count).ok().and_then(|count| stream.their_credit.checked_sub(count));
                let Some(rest) = rest else {
                    return Err(Violation(format!("sent more of stream {id} than it had credit for")));
                };
                stream.their_credit = rest;
                // Sent before it could know that nobody takes it.
                if stream.local && !matches!(stream.our_last, Some(Last::Reset(_))) {
                    stream.arrived.push_back(bytes);
                }
            }
            Network::Credit { bytes, .. } => {
                let Some(stream) = self.streams.get_mut(&id) else { return Ok(None) };
                ensure!(bytes >= limits::STREAM_WINDOW / 2, "gave stream {id} a credit of {bytes} bytes");
                let credit = stream.credit.checked_add(bytes).filter(|&sum| sum <= limits::STREAM_WINDOW);
                let Some(credit) = credit else {
                    return Err(Violation(format!("gave stream {id} more credit than there may be")));
                };
                stream.credit = credit;
                self.stand_in_row(id);
            }
            Network::End { .. } => {
                ensure!(known, "ended stream {id}, which was over");
                let again = self.change(id, |stream| stream.their_last.replace(Last::End).is_some());
                ensure!(again != Some(true), "ended stream {id} twice");
            }
            Network::Reset { why, words, .. } => {
                ensure!(words.len() <= limits::VALUE, "gave a reason of {} bytes", words.len());
                let reset = Reset { why, words };
                let again = self.change(id, |stream| {
                    if matches!(stream.their_last, Some(Last::Reset(_))) {
                        return true;
                    }
                    stream.their_last = Some(Last::Reset(reset));
                    stream.outgoing = VecDeque::new();
                    if stream.said.is_none() {
                        stream.our_last = Some(Last::Reset(Reset::nobody_cares()));
                        stream.say_opened = false;
                    }
                    false
                });
                ensure!(again != Some(true), "reset stream {id} twice");
            }
        }
        Ok(None)
    }

    fn receive_open(&mut self, wanted: Wanted) -> Result<Option<Wanted>, Violation> {
        let id = wanted.stream;
        ensure!(self.side == Side::Host, "opened a stream, which is the guest's to do");
        ensure!(id > self.last, "opened stream {id} after stream {}", self.last);
        let length = wanted.host.len();
        ensure!(length > 0 && length <= limits::HOST, "asked for a host whose name has {length} bytes");
        ensure!(self.open_count() < limits::STREAMS, "had more than {} streams open", limits::STREAMS);
        self.last = id;
        self.opened += 1;
        let mut stream = Stream::new(None);
        if self.local_count() < limits::STREAMS {
            self.streams.insert(id, stream);
            return Ok(Some(wanted));
        }
        // The guest sees all of them at their end; here, some still hold on to
        // hosts that do not take what was sent to them.
        stream.local = false;
        let words = format!("there are {} connections at once, and that is the limit", limits::STREAMS);
        stream.our_last = Some(Last::Reset(Reset { why: Why::Limit, words }));
        self.streams.insert(id, stream);
        self.stand_in_row(id);
        Ok(None)
    }

    /// Opens a stream, if there may be one more.
    pub fn open(&mut self, host: &str, port: u16) -> Option<u32> {
        if self.open_count() >= limits::STREAMS || host.is_empty() || host.len() > limits::HOST {
            return None;
        }
        let id = self.last.checked_add(1)?;
        self.last = id;
        self.opened += 1;
        self.streams.insert(id, Stream::new(Some((host.to_owned(), port))));
        self.stand_in_row(id);
        Some(id)
    }

    /// Whether the other side has reached the host.
    #[must_use]
    pub fn opening(&self, id: u32) -> Opening {
        let Some(stream) = self.streams.get(&id) else { return Opening::Reset(Reset::nobody_cares()) };
        match &stream.their_last {
            _ if stream.opened => Opening::Opened,
            Some(Last::Reset(reset)) => Opening::Reset(reset.clone()),
            Some(Last::End) => Opening::Reset(Reset::nobody_cares()),
            None => Opening::Wait,
        }
    }

    /// Says that the host is reached.
    pub fn opened(&mut self, id: u32) {
        self.change(id, |stream| {
            if stream.our_last.is_none() && !stream.opened {
                stream.opened = true;
                stream.say_opened = true;
            }
        });
    }

    /// Takes what has arrived, a frame at a time.
    pub fn read(&mut self, id: u32) -> Read {
        let found = self.change(id, |stream| match (stream.arrived.pop_front(), &stream.their_last) {
            (Some(bytes), _) => {
                stream.taken += u32::try_from(bytes.len()).unwrap_or(0);
                Read::Data(bytes)
            }
            (None, Some(Last::End)) => Read::End,
            (None, Some(Last::Reset(reset))) => Read::Reset(reset.clone()),
            (None, None) => match &stream.our_last {
                Some(Last::Reset(reset)) => Read::Reset(reset.clone()),
                _ => Read::Wait,
            },
        });
        found.unwrap_or_else(|| Read::Reset(Reset::nobody_cares()))
    }

    /// Has bytes sent, at most [`limits::STREAM_CHUNK`] at a time.
    pub fn write(&mut self, id: u32, bytes: &[u8]) -> Write {
        let result = self.change(id, |stream| match (&stream.their_last, &stream.our_last) {
            (Some(Last::Reset(reset)), _) | (_, Some(Last::Reset(reset))) => Write::Over(reset.clone()),
            (_, Some(Last::End)) => Write::Over(Reset::nobody_cares()),
            _ if !stream.outgoing.is_empty() => Write::Wait,
            _ => {
                stream.outgoing.extend(bytes);
                Write::Taken
            }
        });
        result.unwrap_or_else(|| Write::Over(Reset::nobody_cares()))
    }

    /// Says that no more bytes will come from here, after those that were written.
    pub fn end(&mut self, id: u32) {
        self.change(id, |stream| {
            stream.our_last.get_or_insert(Last::End);
        });
    }

    /// Ends it in both directions.
    pub fn reset(&mut self, id: u32, reset: Reset) {
        self.change(id, |stream| stream.reset(reset));
    }

    /// Nobody here reads or writes any more. What was written before its end is
    /// still sent.
    pub fn close(&mut self, id: u32) {
        self.change(id, |stream| {
            stream.local = false;
            stream.arrived = VecDeque::new();
            let both_ended = stream.our_last.is_some() && stream.their_last.is_some();
            if !both_ended {
                stream.reset(Reset::nobody_cares());
            }
        });
    }
}

#[cfg(test)]
mod tests;
