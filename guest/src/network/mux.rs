//! [`Streams`] for threads: those of the proxy wait here for what the channel's
//! two threads bring and take.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::{
    protocol::{Network, Why, limits},
    recorder::{Aside, Recorder},
    streams::{Opening, Read, Reset, Side, Streams, Violation, Write},
};

/// All streams of the machine. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Mux(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// A stream was over.
    freed: Condvar,
    /// Sends, and is told when there is something to send.
    recorder: Recorder,
}

#[derive(Debug)]
struct State {
    streams: Streams,
    /// What the threads of a stream wait for.
    waiting: HashMap<u32, Arc<Condvar>>,
    /// The channel is gone.
    gone: bool,
}

fn gone() -> Reset {
    Reset { why: Why::Broken, words: "the job is over".to_owned() }
}

impl Aside for Mux {
    fn next(&self) -> Option<Network> {
        let mut state = self.lock();
        let message = state.streams.say()?;
        self.moved(&state, message.stream());
        Some(message)
    }
}

impl Mux {
    /// No streams. The recorder's thread sends what they say.
    #[must_use]
    pub fn new(recorder: Recorder) -> Self {
        let state = State { streams: Streams::new(Side::Guest), waiting: HashMap::new(), gone: false };
        Self(Arc::new(Inner { state: Mutex::new(state), freed: Condvar::new(), recorder }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self, state: &State, stream: u32) {
        if let Some(waiting) = state.waiting.get(&stream) {
            waiting.notify_all();
        }
        self.0.freed.notify_one();
    }

    /// Takes a message of the host.
    ///
    /// # Errors
    /// When the host may not say it.
    pub fn receive(&self, message: Network) -> Result<(), Violation> {
        let stream = message.stream();
        let mut state = self.lock();
        state.streams.receive(message)?;
        self.moved(&state, stream);
        drop(state);
        // A reset is answered.
        self.0.recorder.nudge();
        Ok(())
    }

    /// The channel is gone, and nobody waits any more.
    pub fn abandon(&self) {
        let mut state = self.lock();
        state.gone = true;
        state.waiting.values().for_each(|waiting| waiting.notify_all());
        self.0.freed.notify_all();
    }

    /// Opens a stream to this host, as soon as there may be one more, and waits
    /// until it is open.
    ///
    /// # Errors
    /// Why it is not.
    pub fn open(&self, host: &str, port: u16) -> Result<Arc<Stream>, Reset> {
        if host.is_empty() || host.len() > limits::HOST {
            let words = format!("the name of a host has 1 to {} bytes", limits::HOST);
            return Err(Reset { why: Why::Refused, words });
        }
        let mut state = self.lock();
        let id = loop {
            if state.gone {
                return Err(gone());
            }
            match state.streams.open(host, port) {
                Some(id) => break id,
                None => state = self.0.freed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        state.waiting.insert(id, Arc::default());
        drop(state);
        self.0.recorder.nudge();
        let stream = Arc::new(Stream { mux: self.clone(), id });
        stream.until(|streams| match streams.opening(id) {
            Opening::Opened => Some(Ok(())),
            Opening::Reset(reset) => Some(Err(reset)),
            Opening::Wait => None,
        })??;
        Ok(stream)
    }
}

/// A stream that is open. Whoever drops it ends it, at once unless both sides
/// have said that they are done.
#[derive(Debug)]
pub struct Stream {
    mux: Mux,
    id: u32,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.mux.lock();
        state.streams.close(self.id);
        state.waiting.remove(&self.id);
        drop(state);
        self.mux.0.freed.notify_one();
        self.mux.0.recorder.nudge();
    }
}

impl Stream {
    /// Tries until there is an answer.
    fn until<T>(&self, mut attempt: impl FnMut(&mut Streams) -> Option<T>) -> Result<T, Reset> {
        let mut state = self.mux.lock();
        loop {
            if state.gone {
                return Err(gone());
            }
            if let Some(answer) = attempt(&mut state.streams) {
                return Ok(answer);
            }
            let Some(waiting) = state.waiting.get(&self.id).cloned() else { return Err(gone()) };
            state = waiting.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for bytes; none at the end.
    ///
    /// # Errors
    /// When it was ended early.
    pub fn read(&self) -> Result<Option<Vec<u8>>, Reset> {
        let read = self.until(|streams| match streams.read(self.id) {
            Read::Data(bytes) => Some(Ok(Some(bytes))),
            Read::End => Some(Ok(None)),
            Read::Reset(reset) => Some(Err(reset)),
            Read::Wait => None,
        })?;
        // There may be credit to give.
        self.mux.0.recorder.nudge();
        read
    }

    /// Sends all of the bytes, no quicker than they are taken.
    ///
    /// # Errors
    /// When it was ended early.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Reset> {
        for chunk in bytes.chunks(limits::STREAM_CHUNK) {
            self.until(|streams| match streams.write(self.id, chunk) {
                Write::Taken => Some(Ok(())),
                Write::Over(reset) => Some(Err(reset)),
                Write::Wait => None,
            })??;
            self.mux.0.recorder.nudge();
        }
        Ok(())
    }

    /// Says that nothing more will be written.
    pub fn end(&self) {
        self.mux.lock().streams.end(self.id);
        self.mux.0.recorder.nudge();
    }
}
