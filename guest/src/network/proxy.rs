//! Serving the clients: a thread that reads and a thread that writes for each,
//! and no more clients at once than there may be streams. Others wait in the
//! kernel until one is done.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use super::{Mux, Stream, http};
use crate::{
    protocol::{Why, limits},
    streams::Reset,
};

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a client may keep a connection to itself whose other end is gone.
const FAREWELL: Duration = Duration::from_secs(60);
/// What a thread here needs; there may be two for each stream.
const STACK: usize = 256 << 10;

/// How many clients are served.
#[derive(Debug, Default)]
struct Served {
    count: Mutex<usize>,
    fewer: Condvar,
}

/// One of them, until it is dropped.
struct Place(Arc<Served>);

impl Served {
    fn take(self: &Arc<Self>) -> Place {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        while *count >= limits::STREAMS {
            count = self.fewer.wait(count).unwrap_or_else(PoisonError::into_inner);
        }
        *count += 1;
        Place(self.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.fewer.notify_one();
    }
}

/// Serves clients for ever.
pub(super) fn serve(listener: &TcpListener, mux: &Mux) {
    let served = Arc::new(Served::default());
    loop {
        let place = served.take();
        match listener.accept() {
            Ok((client, _)) => {
                let mux = mux.clone();
                // Without a thread, the client sees its connection closed.
                let _ = thread::Builder::new().stack_size(STACK).spawn(move || {
                    let _ = one(client, &mux);
                    drop(place);
                });
            }
            // Out of descriptors or memory: it passes.
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Serves one client.
fn one(mut client: TcpStream, mux: &Mux) -> io::Result<()> {
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = Vec::new();
    let length = loop {
        if let Some(length) = http::head_length(&bytes) {
            break length;
        }
        if bytes.len() > http::HEAD {
            let words = format!("the head of a request has at most {} bytes", http::HEAD);
            return answer(&mut client, "431 Request Header Fields Too Large", &words);
        }
        let mut part = [0; 4096];
        match client.read(&mut part)? {
            0 => return Ok(()),
            count => bytes.extend(&part[..count]),
        }
    };
    let rest = bytes.split_off(length);
    let request = match http::parse(&bytes) {
        Ok(request) => request,
        Err((status, words)) => return answer(&mut client, status, &words),
    };
    let stream = match mux.open(&request.host, request.port) {
        Ok(stream) => stream,
        Err(Reset { why, words }) => {
            let status = match why {
                Why::Refused => "403 Forbidden",
                Why::Unreachable | Why::Broken => "502 Bad Gateway",
                Why::Limit => "503 Service Unavailable",
            };
            let words = if words.is_empty() { "the connection broke before it was made" } else { &words };
            return answer(&mut client, status, words);
        }
    };
    client.set_read_timeout(None)?;
    let tunnel = request.head.is_none();
    if tunnel {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    }
    let mut first = request.head.unwrap_or_default();
    first.extend(rest);
    relay(client, &stream, first, tunnel)
}

/// Passes bytes on in both directions until both have ended.
fn relay(client: TcpStream, stream: &Arc<Stream>, first: Vec<u8>, tunnel: bool) -> io::Result<()> {
    let (mut from, stream_up) = (client.try_clone()?, stream.clone());
    let up = thread::Builder::new().stack_size(STACK).spawn(move || {
        let result = up(&mut from, &stream_up, &first);
        if result.is_err() {
            // The other direction has nobody left to serve.
            let _ = from.shutdown(Shutdown::Both);
        }
    })?;
    let ended = down(&client, stream);
    if ended.is_ok() && tunnel {
        // The client may still have something to say, but not for ever.
        let _ = client.shutdown(Shutdown::Write);
        let _ = client.set_read_timeout(Some(FAREWELL));
    } else {
        let _ = client.shutdown(Shutdown::Both);
    }
    let _ = up.join();
    ended
}

fn over(_: Reset) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

fn up(client: &mut TcpStream, stream: &Stream, first: &[u8]) -> io::Result<()> {
    stream.write(first).map_err(over)?;
    let mut buffer = vec![0; limits::STREAM_CHUNK];
    loop {
        match client.read(&mut buffer) {
            Ok(0) => {
                stream.end();
                return Ok(());
            }
            Ok(count) => stream.write(&buffer[..count]).map_err(over)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn down(mut client: &TcpStream, stream: &Stream) -> io::Result<()> {
    while let Some(bytes) = stream.read().map_err(over)? {
        client.write_all(&bytes)?;
    }
    Ok(())
}

/// Says why not.
fn answer(client: &mut TcpStream, status: &str, words: &str) -> io::Result<()> {
    let words = format!("{words}\n");
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        words.len()
    );
    client.write_all(head.as_bytes())?;
    client.write_all(words.as_bytes())?;
    client.shutdown(Shutdown::Write)?;
    // A connection that is closed with bytes unread is reset, and the client may
    // never see the answer.
    client.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut rest = [0; 4096];
    for _ in 0..64 {
        if client.read(&mut rest)? == 0 {
            break;
        }
    }
    Ok(())
}
