//! Reading along in a push (gitprotocol-pack(5), "Pushing Data To a Server").
//!
//! The beginning of the request is a list of commands, `old new ref`; we read
//! it to know what will happen before git does it. The end of the answer is a
//! flush packet; we hold it back until the runs exist, and say their addresses
//! in front of it, on the channel that git shows as `remote: …`. So no hook
//! program has to be started, and the client's `git push` cannot return before
//! the run is there.

use bytes::{Buf as _, Bytes, BytesMut};

/// Bytes of commands and options that a push may begin with: some 5000 refs.
pub const LONGEST_COMMANDS: usize = 1 << 20;

/// One ref that a push wants changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Where the ref is now, as the client believes. All zeros: nowhere.
    pub old: String,
    /// Where it shall be. All zeros: nowhere.
    pub new: String,
    /// Its full name.
    pub name: String,
}

fn is_nothing(sha: &str) -> bool {
    sha.bytes().all(|b| b == b'0')
}

impl Command {
    /// Whether the ref is to be deleted.
    #[must_use]
    pub fn deletes(&self) -> bool {
        is_nothing(&self.new)
    }

    /// Whether the ref is to be moved from one commit to another.
    #[must_use]
    pub fn updates(&self) -> bool {
        !is_nothing(&self.old) && !is_nothing(&self.new)
    }
}

/// What a push begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Push {
    /// What shall be done.
    pub commands: Vec<Command>,
    /// `git push -o …`.
    pub options: Vec<String>,
    /// Whether we can say something to the person (`side-band-64k`).
    pub can_talk: bool,
}

/// The beginning of a push that is no push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPush {
    /// Not the protocol.
    #[error("this is not what `git push` sends")]
    Malformed,
    /// Too many refs.
    #[error("this push changes too many refs at once; push some thousand at a time")]
    TooLong,
}

/// One packet: its content, or `None` for a flush packet. `Err(None)` when it
/// is not complete yet.
fn packet(bytes: &[u8]) -> Result<(Option<&[u8]>, usize), Option<NoPush>> {
    let length = bytes.get(..4).ok_or(None)?;
    let length = std::str::from_utf8(length).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
    match length.ok_or(Some(NoPush::Malformed))? {
        0 => Ok((None, 4)),
        length @ 4.. => Ok((Some(bytes.get(4..length).ok_or(None)?), length)),
        _ => Err(Some(NoPush::Malformed)),
    }
}

/// Reads the beginning of a push. `Ok(None)` when more bytes are needed.
///
/// # Errors
/// See [`NoPush`].
pub fn parse(bytes: &[u8]) -> Result<Option<Push>, NoPush> {
    let mut push = Push::default();
    let mut rest = bytes;
    let mut options = false;
    let mut in_options = false;
    loop {
        let (content, length) = match packet(rest) {
            Ok(packet) => packet,
            Err(None) if bytes.len() > LONGEST_COMMANDS => return Err(NoPush::TooLong),
            Err(None) => return Ok(None),
            Err(Some(error)) => return Err(error),
        };
        rest = rest.get(length..).unwrap_or_default();
        let Some(content) = content else {
            if options && !in_options {
                in_options = true;
                continue;
            }
            return Ok(Some(push));
        };
        let text = String::from_utf8_lossy(content);
        if in_options {
            push.options.push(text.trim_end_matches('\n').to_owned());
            continue;
        }
        let (command, capabilities) = text.split_once('\0').unwrap_or((&text, ""));
        for word in capabilities.split_whitespace() {
            push.can_talk |= word == "side-band-64k";
            options |= word == "push-options";
        }
        // A shallow client first says where its history ends; a signed push
        // has a certificate around its commands, and we offer none.
        if command.starts_with("shallow ") {
            continue;
        }
        let mut words = command.trim_end_matches('\n').splitn(3, ' ');
        let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else {
            return Err(NoPush::Malformed);
        };
        let hexadecimal =
            |sha: &str| matches!(sha.len(), 40 | 64) && sha.bytes().all(|b| b.is_ascii_hexdigit());
        if !hexadecimal(old) || !hexadecimal(new) || name.contains(char::is_control) {
            return Err(NoPush::Malformed);
        }
        push.commands.push(Command { old: old.to_owned(), new: new.to_owned(), name: name.to_owned() });
    }
}

/// Text as packets on the channel that the client shows as `remote: …`.
#[must_use]
pub fn say(lines: &[String]) -> Bytes {
    let mut out = BytesMut::new();
    for line in lines {
        let text: String = line.chars().filter(|c| !c.is_control()).take(900).collect();
        out.extend_from_slice(format!("{:04x}\u{2}{text}\n", text.len() + 6).as_bytes());
    }
    out.freeze()
}

/// Lets an answer through, but holds its last flush packet back.
#[derive(Debug, Default)]
pub struct Gate {
    /// What has come and is not through yet: a part of a packet's length, or a
    /// flush packet that may be the last.
    held: BytesMut,
    /// Bytes of the packet that is under way.
    open: usize,
    /// What came is not the protocol: let everything through.
    broken: bool,
}

impl Gate {
    /// What may go on to the client, given that `bytes` came from git.
    pub fn pass(&mut self, bytes: &Bytes) -> Bytes {
        self.held.extend_from_slice(bytes);
        let mut out = BytesMut::new();
        while !self.held.is_empty() && !self.broken {
            if self.open > 0 {
                let length = self.open.min(self.held.len());
                out.extend_from_slice(&self.held.split_to(length));
                self.open -= length;
                continue;
            }
            // The only flush packet on this level is the last one; if another
            // packet follows all the same, it was not the last.
            let header = if self.held.starts_with(b"0000") && self.held.len() > 4 { 4 } else { 0 };
            let Some(length) = self.held.get(header..header + 4) else { break };
            if length == b"0000" && header == 0 {
                break;
            }
            let length = std::str::from_utf8(length).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
            match length {
                Some(length) if header == 4 || length >= 4 => {
                    out.extend_from_slice(&self.held.split_to(header));
                    if header == 0 {
                        self.open = length;
                    }
                }
                _ => self.broken = true,
            }
        }
        if self.broken {
            out.extend_from_slice(&self.held.split());
        }
        out.freeze()
    }

    /// Whether something can be said at this place: between two packets.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.open == 0 && !self.broken && (self.held.is_empty() || &self.held[..] == b"0000")
    }

    /// The rest, when git has said all.
    pub fn finish(mut self) -> Bytes {
        let length = self.held.len();
        self.held.copy_to_bytes(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";
    const B: &str = "2222222222222222222222222222222222222222";
    const NOTHING: &str = "0000000000000000000000000000000000000000";

    fn line(text: &str) -> String {
        format!("{:04x}{text}", text.len() + 4)
    }

    #[test]
    fn commands_and_options_are_read() {
        let push = [
            line(&format!("shallow {A}")),
            line(&format!(
                "{NOTHING} {A} refs/heads/main\0 report-status side-band-64k push-options agent=git/2"
            )),
            line(&format!("{A} {B} refs/heads/x y")),
            line(&format!("{A} {NOTHING} refs/tags/v1\n")),
            "0000".to_owned(),
            line("ci.skip"),
            "0000PACK....".to_owned(),
        ]
        .concat();
        for cut in 0..push.len() - 8 {
            assert_eq!(parse(&push.as_bytes()[..cut]), Ok(None), "cut at {cut}");
        }
        let push = parse(push.as_bytes()).unwrap().unwrap();
        assert_eq!(push.options, ["ci.skip"]);
        assert!(push.can_talk);
        let [first, second, third] = &push.commands[..] else { panic!("{push:?}") };
        assert!(!first.updates() && !first.deletes());
        assert!(second.updates());
        assert!(third.deletes());
        assert_eq!(third.name, "refs/tags/v1");
    }

    #[test]
    fn what_is_no_push_is_refused() {
        for bytes in ["GET / HTTP", "0001", "000Zxxxx", "0009hello"] {
            assert_eq!(parse(bytes.as_bytes()), Err(NoPush::Malformed), "{bytes}");
        }
        let endless = line(&format!("{A} {B} refs/heads/main")).repeat(20_000);
        assert_eq!(parse(endless.as_bytes()), Err(NoPush::TooLong));
    }

    #[test]
    fn the_last_flush_waits_however_the_answer_is_cut() {
        let answer = format!("{}{}0000", line("\u{2}hello\n"), line("\u{1}000eunpack ok\n0000"));
        for size in 1..answer.len() {
            let mut gate = Gate::default();
            let mut out = Vec::new();
            for part in answer.as_bytes().chunks(size) {
                out.extend_from_slice(&gate.pass(&Bytes::copy_from_slice(part)));
            }
            assert_eq!(out, answer.as_bytes()[..answer.len() - 4], "pieces of {size}");
            assert!(gate.is_between());
            assert_eq!(&gate.finish()[..], b"0000");
        }
    }

    #[test]
    fn an_answer_that_is_not_the_protocol_goes_through_whole() {
        let mut gate = Gate::default();
        let out = gate.pass(&Bytes::from_static(b"what?"));
        assert!(!gate.is_between());
        assert_eq!([&out[..], &gate.finish()[..]].concat(), b"what?");
    }

    #[test]
    fn what_we_say_is_one_packet_a_line() {
        let said = say(&["run 1: http://x".to_owned(), "a\u{1b}[31mb".to_owned()]);
        assert_eq!(&said[..], b"0015\x02run 1: http://x\n000c\x02a[31mb\n");
    }
}
