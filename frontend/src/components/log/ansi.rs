//! A line of a terminal as pieces with classes.
//!
//! Only what a log needs: colours and weights (SGR) are kept, in 16 classes
//! that the style sheet gives a readable colour in both themes; every other
//! escape sequence is dropped. A carriage return overwrites, as in a terminal:
//! what stands after the last one is what the reader would have seen.

/// Text with the same look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Space-separated classes, empty for plain text.
    pub class: String,
    /// The text.
    pub text: String,
}

/// Longer lines are cut for the eye; the download has them whole.
const LONGEST: usize = 8_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
    inverse: bool,
    strike: bool,
    /// One of the sixteen colours.
    fore: Option<u8>,
    back: Option<u8>,
}

impl Look {
    fn classes(self) -> String {
        let mut classes = Vec::new();
        for (on, class) in [
            (self.bold, "ansi-bold"),
            (self.dim, "ansi-dim"),
            (self.italic, "ansi-italic"),
            (self.underline, "ansi-underline"),
            (self.inverse, "ansi-inverse"),
            (self.strike, "ansi-strike"),
        ] {
            if on {
                classes.push(class.to_owned());
            }
        }
        classes.extend(self.fore.map(|c| format!("ansi-{c}")));
        classes.extend(self.back.map(|c| format!("ansi-bg-{c}")));
        classes.join(" ")
    }

    /// ECMA-48 §8.3.117, with the colour extensions that everybody knows.
    fn apply(&mut self, parameters: &str) {
        // `38:5:n` and `38;5;n` are the same to us.
        let mut codes = parameters.split([';', ':']).map(|p| p.parse::<u16>().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 => self.underline = true,
                7 => self.inverse = true,
                9 => self.strike = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underline = false,
                27 => self.inverse = false,
                29 => self.strike = false,
                30..=37 => self.fore = low_byte(code - 30),
                39 => self.fore = None,
                40..=47 => self.back = low_byte(code - 40),
                49 => self.back = None,
                90..=97 => self.fore = low_byte(code - 82),
                100..=107 => self.back = low_byte(code - 92),
                38 | 48 => {
                    let colour = match codes.next() {
                        Some(5) => codes.next().map(of_256),
                        Some(2) => {
                            let (r, g, b) = (codes.next(), codes.next(), codes.next());
                            Some(of_rgb(r.unwrap_or(0), g.unwrap_or(0), b.unwrap_or(0)))
                        }
                        _ => None,
                    };
                    if code == 38 { self.fore = colour } else { self.back = colour }
                }
                _ => {}
            }
        }
    }
}

fn low_byte(n: u16) -> Option<u8> {
    u8::try_from(n).ok()
}

/// The nearest of the sixteen for one of the 256.
fn of_256(n: u16) -> u8 {
    match n {
        0..=15 => low_byte(n).unwrap_or(7),
        16..=231 => {
            let level = |v: u16| if v == 0 { 0 } else { 55 + v * 40 };
            let n = n - 16;
            of_rgb(level(n / 36), level(n / 6 % 6), level(n % 6))
        }
        _ => {
            let grey = 8 + n.min(255).saturating_sub(232) * 10;
            of_rgb(grey, grey, grey)
        }
    }
}

/// The nearest of the sixteen for a colour.
fn of_rgb(r: u16, g: u16, b: u16) -> u8 {
    let most = r.max(g).max(b);
    let least = r.min(g).min(b);
    if most.saturating_sub(least) < 40 {
        return match most {
            0..=63 => 0,
            64..=145 => 8,
            146..=215 => 7,
            _ => 15,
        };
    }
    let on = |v: u16| u8::from(u32::from(v) * 2 > u32::from(most) + u32::from(least));
    let hue = on(r) | on(g) << 1 | on(b) << 2;
    if most > 190 { hue + 8 } else { hue }
}

/// Splits a line into pieces.
#[must_use]
pub fn pieces(line: &str) -> Vec<Piece> {
    let line = last_overwrite(line);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut look = Look::default();
    let mut text = String::new();
    let mut shown = 0;
    let mut chars = line.chars();
    let mut flush = |text: &mut String, look: Look| {
        if !text.is_empty() {
            pieces.push(Piece { class: look.classes(), text: std::mem::take(text) });
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => {
                    let mut parameters = String::new();
                    let end = chars.by_ref().find(|c| {
                        let ends = matches!(c, '\u{40}'..='\u{7e}');
                        if !ends {
                            parameters.push(*c);
                        }
                        ends
                    });
                    if end == Some('m') {
                        flush(&mut text, look);
                        look.apply(&parameters);
                    }
                }
                // Operating system commands (titles, links): up to BEL or ESC \.
                Some(']' | 'P' | '_' | '^') => {
                    let mut before = ' ';
                    for c in chars.by_ref() {
                        if c == '\u{7}' || (before == '\u{1b}' && c == '\\') {
                            break;
                        }
                        before = c;
                    }
                }
                // Character sets take one more.
                Some('(' | ')') => {
                    chars.next();
                }
                _ => {}
            },
            '\t' => text.push('\t'),
            '\u{8}' => {
                text.pop();
            }
            c if c.is_control() => {}
            c => {
                text.push(c);
                shown += 1;
                if shown == LONGEST {
                    flush(&mut text, look);
                    let rest = chars.as_str().len();
                    if rest > 0 {
                        pieces.push(Piece {
                            class: "log-cut".to_owned(),
                            text: format!(" … {rest} more bytes in this line; download the log to see them"),
                        });
                    }
                    return pieces;
                }
            }
        }
    }
    flush(&mut text, look);
    pieces
}

/// Cuts pieces where `needle` (in lower case) begins and ends, and says which
/// ones are it.
#[must_use]
pub fn mark(pieces: Vec<Piece>, needle: &str) -> Vec<(Piece, bool)> {
    let plain: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
    let lower = plain.to_lowercase();
    // Where lower case is longer, places in it are none in the line.
    let usable = !needle.is_empty() && lower.len() == plain.len();
    let found: Vec<usize> =
        if usable { lower.match_indices(needle).map(|(at, _)| at).collect() } else { Vec::new() };
    if found.is_empty() {
        return pieces.into_iter().map(|piece| (piece, false)).collect();
    }
    let mut marked = Vec::new();
    let mut begin = 0;
    for Piece { class, text } in pieces {
        let (mut at, end) = (begin, begin + text.len());
        while at < end {
            let inside = found.iter().find(|from| **from <= at && at < **from + needle.len());
            let next = match inside {
                Some(from) => from + needle.len(),
                None => found.iter().copied().find(|from| *from > at).unwrap_or(end),
            };
            let next = next.min(end);
            let part = text.get(at - begin..next - begin).unwrap_or_default().to_owned();
            marked.push((Piece { class: class.clone(), text: part }, inside.is_some()));
            at = next;
        }
        begin = end;
    }
    marked
}

/// What a terminal shows in the end of a line that returns to its beginning.
fn last_overwrite(line: &str) -> &str {
    let line = line.trim_end_matches('\r');
    line.rsplit_once('\r').map_or(line, |(_, last)| last)
}

/// The line without any escape, for search and titles.
#[must_use]
pub fn plain(line: &str) -> String {
    pieces(line).into_iter().map(|p| p.text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> Vec<(String, String)> {
        pieces(line).into_iter().map(|p| (p.class, p.text)).collect()
    }

    fn one(class: &str, text: &str) -> Vec<(String, String)> {
        vec![(class.to_owned(), text.to_owned())]
    }

    #[test]
    fn what_was_searched_is_marked_across_colours() {
        let marked = |line: &str, needle: &str| {
            mark(pieces(line), needle).into_iter().map(|(p, on)| (p.text, on)).collect::<Vec<_>>()
        };
        let own = |parts: &[(&str, bool)]| {
            parts.iter().map(|(text, on)| ((*text).to_owned(), *on)).collect::<Vec<_>>()
        };
        assert_eq!(marked("plain", "x"), own(&[("plain", false)]));
        assert_eq!(
            marked("an Error, error", "error"),
            own(&[("an ", false), ("Error", true), (", ", false), ("error", true)])
        );
        assert_eq!(
            marked("e\u{1b}[31mrr\u{1b}[0mor!", "error"),
            own(&[("e", true), ("rr", true), ("or", true), ("!", false)])
        );
        assert_eq!(marked("İstanbul", "stan"), own(&[("İstanbul", false)]));
    }

    #[test]
    fn colours_become_classes() {
        for (line, class) in [
            ("\u{1b}[31mx", "ansi-1"),
            ("\u{1b}[1;32mx", "ansi-bold ansi-2"),
            ("\u{1b}[95mx", "ansi-13"),
            ("\u{1b}[44mx", "ansi-bg-4"),
            ("\u{1b}[104mx", "ansi-bg-12"),
            ("\u{1b}[38;5;9mx", "ansi-9"),
            ("\u{1b}[38;5;196mx", "ansi-9"),
            ("\u{1b}[38;2;20;180;30mx", "ansi-2"),
            ("\u{1b}[38:2:20:180:30mx", "ansi-2"),
            ("\u{1b}[38;5;240mx", "ansi-8"),
            ("\u{1b}[31m\u{1b}[0mx", ""),
            ("\u{1b}[31m\u{1b}[mx", ""),
            ("\u{1b}[1m\u{1b}[22mx", ""),
        ] {
            assert_eq!(shown(line), one(class, "x"), "{line:?}");
        }
    }

    #[test]
    fn a_look_ends_where_the_next_begins() {
        assert_eq!(
            shown("a \u{1b}[31mb\u{1b}[39m c"),
            [("", "a "), ("ansi-1", "b"), ("", " c")].map(|(c, t)| (c.to_owned(), t.to_owned()))
        );
    }

    #[test]
    fn other_escapes_leave_no_trace() {
        for line in [
            "\u{1b}[2Kx",
            "\u{1b}[?25lx",
            "\u{1b}]0;title\u{7}x",
            "\u{1b}]8;;https://example.org\u{1b}\\x\u{1b}]8;;\u{1b}\\",
            "\u{1b}(Bx",
            "x\u{1b}",
            "x\u{1b}[",
            "x\u{1b}[31",
            "\u{0}x\u{7}",
            "yx\u{8}\u{8}x",
            "downloading 10%\rx",
            "downloading 10%\rx\r",
        ] {
            assert_eq!(shown(line), one("", "x"), "{line:?}");
        }
    }

    #[test]
    fn endless_lines_are_cut_for_the_eye() {
        let pieces = pieces(&"é".repeat(LONGEST + 10));
        assert_eq!(pieces.first().map(|p| p.text.chars().count()), Some(LONGEST));
        assert!(pieces.last().is_some_and(|p| p.class == "log-cut" && p.text.contains("20 more bytes")));
    }
}
