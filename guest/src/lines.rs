//! Bytes of a pipe become lines: UTF-8, bounded, none lost.

use crate::protocol::limits;

/// Collects bytes and hands out complete lines.
#[derive(Debug)]
pub struct LineSplitter {
    partial: Vec<u8>,
    limit: usize,
}

impl Default for LineSplitter {
    fn default() -> Self {
        Self::new(limits::LINE)
    }
}

impl LineSplitter {
    /// Lines longer than `limit` bytes are cut into several.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { partial: Vec::new(), limit }
    }

    /// Takes the next bytes and hands each line that they complete to `line`.
    pub fn feed(&mut self, mut bytes: &[u8], line: &mut impl FnMut(String)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            if self.partial.is_empty() {
                emit(&bytes[..end], self.limit, line);
            } else {
                self.partial.extend_from_slice(&bytes[..end]);
                emit(&self.partial, self.limit, line);
                self.partial.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.partial.extend_from_slice(bytes);
        while self.partial.len() > self.limit {
            let cut = character_boundary(&self.partial, self.limit);
            emit(&self.partial[..cut], self.limit, line);
            self.partial.drain(..cut);
        }
    }

    /// Hands out what came after the last line break.
    pub fn finish(&mut self, line: &mut impl FnMut(String)) {
        if !self.partial.is_empty() {
            emit(&self.partial, self.limit, line);
            self.partial.clear();
        }
    }
}

/// One line as text.
fn emit(bytes: &[u8], limit: usize, line: &mut impl FnMut(String)) {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    pieces(String::from_utf8_lossy(bytes).into_owned(), limit, line);
}

/// The text in pieces of at most `limit` bytes.
pub(crate) fn pieces(text: String, limit: usize, piece: &mut impl FnMut(String)) {
    if text.len() <= limit {
        return piece(text);
    }
    let mut rest = text.as_str();
    while rest.len() > limit {
        let cut = rest.floor_char_boundary(limit);
        piece(rest[..cut].to_owned());
        rest = &rest[cut..];
    }
    piece(rest.to_owned());
}

/// The last position up to `at` that does not cut a character in two.
fn character_boundary(bytes: &[u8], at: usize) -> usize {
    let is_continuation = |byte: u8| byte & 0xC0 == 0x80;
    (at.saturating_sub(3)..=at).rev().find(|cut| !is_continuation(bytes[*cut])).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut splitter = LineSplitter::default();
        for chunk in chunks {
            splitter.feed(chunk, &mut |line| lines.push(line));
        }
        splitter.finish(&mut |line| lines.push(line));
        lines
    }

    #[test]
    fn lines_across_chunks() {
        assert_eq!(split(&[b"one\ntw", b"o\n", b"\nfour\n"]), ["one", "two", "", "four"]);
    }

    #[test]
    fn the_last_line_needs_no_line_break() {
        assert_eq!(split(&[b"one\nend"]), ["one", "end"]);
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        assert_eq!(split(&[b"a\xFFb\n"]), ["a\u{FFFD}b"]);
    }

    #[test]
    fn a_character_cut_by_the_chunk_stays_whole() {
        let euro = "€\n".as_bytes();
        assert_eq!(split(&[&euro[..1], &euro[1..]]), ["€"]);
    }

    #[test]
    fn carriage_returns_are_kept_but_at_the_end() {
        assert_eq!(split(&[b"10%\r20%\r\n"]), ["10%\r20%"]);
    }

    #[test]
    fn a_huge_line_is_cut_between_characters_and_nothing_is_lost() {
        let text = "€".repeat(limits::LINE);
        let lines = split(&[text.as_bytes()]);
        assert!(lines.len() > 2);
        assert!(lines.iter().all(|line| line.len() <= limits::LINE && !line.contains('\u{FFFD}')));
        assert_eq!(lines.concat(), text);
    }

    #[test]
    fn a_huge_line_of_invalid_bytes_keeps_the_limit() {
        let lines = split(&[&vec![0xFF; 2 * limits::LINE], b"\n"]);
        assert!(lines.iter().all(|line| line.len() <= limits::LINE));
        assert_eq!(lines.concat().chars().count(), 2 * limits::LINE);
    }

    #[test]
    fn what_looks_like_the_middle_of_a_character_for_ever_is_cut_all_the_same() {
        let lines = split(&[&vec![0x80; 2 * limits::LINE]]);
        assert_eq!(lines.concat().chars().count(), 2 * limits::LINE);
    }
}
