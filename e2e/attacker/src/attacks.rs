//! The attacks. Each ends by itself after a while, should the host let it: an
//! attack that nobody stops ends its job with success, which fails the test.

use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use devenv_cloud_guest::{
    boot,
    protocol::{
        Finished, FrameError, GuestMessage, HostMessage, Level, Network, Outcome, Record, SpanKind, Stage,
        Stream, Why, encode, limits, read_message, write_message,
    },
};
use rustix::{
    net::{AddressFamily, SocketType},
    time::{ClockId, Timespec},
};

use crate::port::Port;

/// What a flood is.
const TEN_GB: u64 = 10 << 30;
/// 2100-01-01, in seconds.
const IN_2100: u64 = 4_102_444_800;
/// What a terminal obeys, what turns words around, and what no database stores.
const CONTROL: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\u{202e}\u{9b}31m\0<script>alert(1)</script>";

type Done = Result<(), FrameError>;

/// Attacks in the way that has this name.
pub(crate) fn attack(name: &str, port: Port) -> Done {
    let mut guest = Guest { port, next: 1 };
    let (name, number) = name.split_once('.').unwrap_or((name, ""));
    match name {
        "nothing" => guest.behave(Outcome::Success, Some(0), "")?,
        "frame-too-long" => guest.raw(&u32::MAX.to_le_bytes())?,
        "frame-cut-short" => {
            guest.raw(&[100, 0, 0, 0, 2])?;
            boot::power_off();
        }
        "frame-garbage" => guest.garbage()?,
        "frame-with-a-tail" => {
            let mut frame = encode(&GuestMessage::Alive)?;
            frame[0] += 1;
            frame.push(0);
            guest.raw(&frame)?;
        }
        "second-greeting" => devenv_cloud_guest::protocol::write_hello(&mut guest.port)?,
        "ready-again" => guest.send(&GuestMessage::Ready)?,
        "warm-again" => guest.send(&GuestMessage::Warmed { problem: None })?,
        "sequence-gap" => {
            guest.next = 5;
            guest.open(1, None, "gap")?;
        }
        "sequence-repeat" => {
            guest.open(1, None, "first")?;
            guest.next = 1;
            guest.open(2, None, "again")?;
        }
        "sequence-end" => {
            guest.next = u64::MAX;
            guest.records(vec![])?;
        }
        "span-of-the-host" => guest.open(limits::GUEST_SPAN_IDS, None, "the job itself")?,
        "span-unopened" => guest.close(7)?,
        "span-closed-twice" => {
            guest.open(1, None, "once")?;
            guest.close(1)?;
            guest.close(1)?;
        }
        "spans-a-million" => guest.nest(1_000_000)?,
        "spans-left-open" => {
            guest.nest(20_000)?;
            guest.finish(Outcome::Success, Some(0), "")?;
        }
        "flood-garbage" => guest.flood(|guest, _| guest.raw(&[0xaa; 1 << 16]).map(|()| 1 << 16))?,
        "flood-log" => {
            guest.open(1, None, "flood")?;
            guest.flood(|guest, _| guest.lines("x".repeat(limits::LINE), 60))?;
        }
        "flood-empty-lines" => {
            guest.open(1, None, "flood")?;
            guest.flood(|guest, _| guest.lines(String::new(), limits::RECORDS))?;
        }
        "flood-messages" => {
            let text = "m".repeat(limits::MESSAGE);
            guest.flood(|guest, _| guest.messages(&text))?;
        }
        "flood-line-breaks" => {
            let text = "\n".repeat(limits::MESSAGE);
            guest.flood(|guest, _| guest.messages(&text))?;
        }
        "flood-attributes" => guest.flood(|guest, round| {
            let attributes =
                (0..limits::ATTRIBUTES).map(|n| (n.to_string(), "v".repeat(limits::VALUE))).collect();
            guest.records(vec![opened(round, None, "attributes", attributes)])?;
            Ok((limits::ATTRIBUTES * limits::VALUE) as u64)
        })?,
        "flood-alive" => guest.flood(|guest, _| guest.send(&GuestMessage::Alive).map(|()| 5))?,
        "flood-nothing" => guest.flood(|guest, _| guest.records(vec![]).map(|()| 5))?,
        "finished-twice" => {
            guest.finish(Outcome::Failure, Some(3), "the first word counts")?;
            guest.open(1, None, "after the end")?;
            guest.finish(Outcome::Success, Some(0), "")?;
        }
        "success-unproven" => guest.finish(Outcome::Success, None, "")?,
        "lines-dropped" => guest.end(&Finished {
            outcome: Outcome::Failure,
            reason: "dropped them all".into(),
            exit_status: Some(i32::MIN),
            dropped_lines: u64::MAX,
        })?,
        "reason-endless" => guest.finish(Outcome::Failure, Some(1), &"because ".repeat(100_000))?,
        "control-characters" => guest.control_characters()?,
        "clock" => guest.clock()?,
        "network" => guest.network(number.parse().unwrap_or(80))?,
        "stream-of-nobody" => guest.data(7)?,
        "stream-beyond-credit" => {
            guest.reach(1, "example.org", 443)?;
            for _ in 0..1000 {
                guest.data(1)?;
            }
        }
        "streams-at-once" => {
            for stream in 1..=10_000 {
                guest.reach(stream, "example.org", 443)?;
            }
        }
        "streams-one-after-another" => {
            for stream in 1..=10_000 {
                guest.reach(stream, "127.0.0.1", 80)?;
                let (why, words) = (Why::Broken, String::new());
                guest.send(&GuestMessage::Network(Network::Reset { stream, why, words }))?;
            }
        }
        "streams" => guest.streams(number.parse().unwrap_or(80))?,
        "silence" => {}
        other => guest.finish(Outcome::Error, None, &format!("there is no attack {other}"))?,
    }
    // The host ends it; who would power off now could hide what came of it.
    thread::sleep(Duration::from_secs(600));
    guest.finish(Outcome::Success, Some(0), "")
}

struct Guest {
    port: Port,
    /// The next record's number.
    next: u64,
}

fn opened(id: u64, parent: Option<u64>, name: &str, attributes: Vec<(String, String)>) -> Record {
    let (kind, stage) = (SpanKind::Command, (id == 1).then_some(Stage::Task));
    Record::SpanOpened { id, parent, kind, stage, name: name.to_owned(), time: 0, attributes }
}

impl Guest {
    fn raw(&mut self, bytes: &[u8]) -> Done {
        self.port.write_all(bytes)?;
        Ok(())
    }

    fn send(&mut self, message: &GuestMessage) -> Done {
        write_message(&mut self.port, message)
    }

    fn records(&mut self, records: Vec<Record>) -> Done {
        let first = self.next;
        self.next = first.wrapping_add(records.len() as u64);
        self.send(&GuestMessage::Records { first, records })
    }

    fn open(&mut self, id: u64, parent: Option<u64>, name: &str) -> Done {
        self.records(vec![opened(id, parent, name, vec![])])
    }

    fn close(&mut self, id: u64) -> Done {
        self.records(vec![Record::SpanClosed { id, time: 0, outcome: Outcome::Success, attributes: vec![] }])
    }

    fn end(&mut self, finished: &Finished) -> Done {
        self.send(&GuestMessage::Finished(finished.clone()))
    }

    fn finish(&mut self, outcome: Outcome, exit_status: Option<i32>, reason: &str) -> Done {
        self.end(&Finished { outcome, reason: reason.to_owned(), exit_status, dropped_lines: 0 })
    }

    /// As many lines as this, of one frame. Says how many bytes these are.
    fn lines(&mut self, text: String, count: usize) -> Result<u64, FrameError> {
        let bytes = (text.len() + 4) * count;
        self.records(vec![Record::Line { span: 1, stream: Stream::Stdout, time: 0, text }; count])?;
        Ok(bytes as u64)
    }

    fn messages(&mut self, text: &str) -> Result<u64, FrameError> {
        let message = Record::Message {
            span: None,
            level: Level::Warning,
            time: 0,
            text: text.to_owned(),
            file: None,
            line: None,
        };
        self.records(vec![message; 15])?;
        Ok(15 * text.len() as u64)
    }

    /// Repeats something until it was ten gigabytes. Reads nothing meanwhile.
    fn flood(&mut self, mut some: impl FnMut(&mut Self, u64) -> Result<u64, FrameError>) -> Done {
        let (mut sent, mut round) = (0, 0);
        while sent < TEN_GB {
            sent += some(self, round)?;
            round += 1;
        }
        self.finish(Outcome::Success, Some(0), "")
    }

    /// Frames of the right length with bytes that are no message.
    fn garbage(&mut self) -> Done {
        let mut frame = vec![64, 0, 0, 0];
        frame.extend([0xff; 64]);
        self.raw(&frame)
    }

    /// Spans within spans.
    fn nest(&mut self, count: u64) -> Done {
        let ids: Vec<u64> = (1..=count).collect();
        for ids in ids.chunks(limits::RECORDS) {
            let spans =
                ids.iter().map(|&id| opened(id, (id > 1).then(|| id - 1), "deeper", vec![])).collect();
            self.records(spans)?;
        }
        Ok(())
    }

    /// What a guest does that means no harm.
    fn behave(&mut self, outcome: Outcome, exit_status: Option<i32>, reason: &str) -> Done {
        self.open(1, None, "harmless")?;
        self.lines("I mean no harm".to_owned(), 1)?;
        self.close(1)?;
        self.finish(outcome, exit_status, reason)
    }

    fn control_characters(&mut self) -> Done {
        let attributes = vec![(CONTROL.to_owned(), CONTROL.to_owned())];
        self.records(vec![
            opened(1, None, CONTROL, attributes),
            Record::Message {
                span: Some(1),
                level: Level::Error,
                time: 0,
                text: CONTROL.to_owned(),
                file: Some(CONTROL.to_owned()),
                line: Some(u32::MAX),
            },
        ])?;
        self.lines(CONTROL.to_owned(), 1)?;
        self.finish(Outcome::Failure, Some(1), CONTROL)
    }

    /// Lives in another century.
    fn clock(&mut self) -> Done {
        let time = Timespec { tv_sec: i64::try_from(IN_2100).unwrap_or(i64::MAX), tv_nsec: 0 };
        let set = rustix::time::clock_settime(ClockId::Realtime, time).is_ok();
        let time = IN_2100 * 1_000_000_000;
        let mut span = opened(1, None, "a hundred years", vec![]);
        if let Record::SpanOpened { time: at, .. } = &mut span {
            *at = time;
        }
        self.records(vec![
            span,
            Record::Line {
                span: 1,
                stream: Stream::Stdout,
                time: u64::MAX,
                text: format!("clock set: {set}"),
            },
            Record::SpanClosed { id: 1, time: 0, outcome: Outcome::Success, attributes: vec![] },
        ])?;
        self.finish(Outcome::Success, Some(0), "")
    }

    /// Tries to reach anybody. The port is one on which somebody listens on the
    /// host's loopback address.
    fn network(&mut self, port: u16) -> Done {
        let mut said = vec![format!("interfaces: {}", names("/sys/class/net"))];
        said.push(format!("ports: {}", names("/sys/class/virtio-ports")));
        let mut reached = Vec::new();
        for (address, port) in [
            ("127.0.0.1", port),
            ("[::1]", port),
            ("[::ffff:127.0.0.1]", port),
            ("10.0.2.2", port),
            ("169.254.169.254", 80),
            ("[fd00:ec2::254]", 80),
            ("10.0.0.1", 80),
            ("172.16.0.1", 80),
            ("192.168.0.1", 80),
            ("100.64.0.1", 80),
            ("192.0.2.1", 80),
        ] {
            let place = format!("{address}:{port}");
            let result = place.parse::<SocketAddr>().map_err(|error| error.to_string()).and_then(|place| {
                TcpStream::connect_timeout(&place, Duration::from_secs(2)).map_err(|error| error.to_string())
            });
            match result {
                Ok(_) => reached.push(place),
                Err(error) => said.push(format!("{place}: {error}")),
            }
        }
        // The way to the host that needs no network card.
        match rustix::net::socket(AddressFamily::from_raw(40), SocketType::STREAM, None) {
            Ok(_) => reached.push("vsock".to_owned()),
            Err(error) => said.push(format!("vsock: {error}")),
        }
        self.tell("network", said, &reached)
    }

    fn reach(&mut self, stream: u32, host: &str, port: u16) -> Done {
        self.send(&GuestMessage::Network(Network::Open { stream, host: host.to_owned(), port }))
    }

    fn data(&mut self, stream: u32) -> Done {
        let bytes = vec![0; limits::STREAM_CHUNK];
        self.send(&GuestMessage::Network(Network::Data { stream, bytes }))
    }

    /// Asks the host for what no job may reach.
    fn streams(&mut self, port: u16) -> Done {
        let (mut said, mut reached) = (Vec::new(), Vec::new());
        for (stream, (host, port)) in (1..).zip(forbidden(port)) {
            self.reach(stream, host, port)?;
            loop {
                match read_message(&mut self.port)? {
                    HostMessage::Network(Network::Opened { .. }) => {
                        reached.push(format!("{host} {port}"));
                        break;
                    }
                    HostMessage::Network(Network::Reset { why, words, .. }) => {
                        said.push(format!("{host} {port}: {why:?}: {words}"));
                        let words = String::new();
                        let reset = Network::Reset { stream, why: Why::Broken, words };
                        self.send(&GuestMessage::Network(reset))?;
                        break;
                    }
                    // The source, which nobody asked for.
                    _ => {}
                }
            }
        }
        self.tell("streams", said, &reached)
    }

    /// Ends the job with what came of it.
    fn tell(&mut self, span: &str, said: Vec<String>, reached: &[String]) -> Done {
        self.open(1, None, span)?;
        for text in said {
            self.lines(text, 1)?;
        }
        self.close(1)?;
        let reason = match reached {
            [] => "reached nobody".to_owned(),
            some => format!("reached {}", some.join(", ")),
        };
        self.finish(Outcome::Failure, Some(1), &reason)
    }
}

/// Addresses that are nobody's business, as one may write them; the port is one on
/// which somebody listens on the host's loopback address.
fn forbidden(port: u16) -> [(&'static str, u16); 14] {
    [
        ("127.0.0.1", port),
        ("127.1", port),
        ("2130706433", port),
        ("0.0.0.0", port),
        ("localhost", port),
        ("::1", port),
        ("::ffff:127.0.0.1", port),
        ("64:ff9b::7f00:1", port),
        ("169.254.169.254", 80),
        ("fd00:ec2::254", 80),
        ("10.0.0.1", 80),
        ("172.16.0.1", 80),
        ("192.168.0.1", 80),
        ("100.64.0.1", 80),
    ]
}

fn names(directory: &str) -> String {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.join(" ")
}
