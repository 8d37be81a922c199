//! Text for a terminal: what may be written there, how wide it is, and how long
//! something took.

use std::iter::Peekable;

use chrono::TimeDelta;

/// How something looks. Without colours, everything looks the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Dim,
    Bold,
    Good,
    Bad,
    Warn,
    Moving,
}

impl Look {
    const fn code(self) -> &'static str {
        match self {
            Self::Dim => "2",
            Self::Bold => "1",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Warn => "33",
            Self::Moving => "36",
        }
    }
}

/// Puts looks around texts, or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    pub(crate) colours: bool,
}

impl Paint {
    pub(crate) fn paint(self, look: Look, text: &str) -> String {
        if self.colours && !text.is_empty() {
            format!("\u{1b}[{}m{text}\u{1b}[0m", look.code())
        } else {
            text.to_owned()
        }
    }

    /// A line of a job, which may be anything: colours stay where they are
    /// wanted, and nothing else that a terminal would obey.
    pub(crate) fn line(self, text: &str) -> String {
        // What a progress bar wrote over is not shown.
        let text = text.trim_end_matches('\r');
        let text = text.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default();
        let mut out = String::with_capacity(text.len());
        let mut coloured = false;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\u{1b}' => {
                    if let Some(sequence) = escape(&mut characters)
                        && self.colours
                    {
                        coloured = true;
                        out.push_str(&sequence);
                    }
                }
                '\t' => out.push('\t'),
                character if character.is_control() => {}
                character => out.push(character),
            }
        }
        if coloured {
            out.push_str("\u{1b}[0m");
        }
        out
    }
}

/// Reads an escape sequence to its end, and gives it back if it is one of colours.
fn escape(rest: &mut Peekable<impl Iterator<Item = char>>) -> Option<String> {
    match rest.next()? {
        '[' => {
            let mut sequence = String::from("\u{1b}[");
            for character in rest.by_ref() {
                sequence.push(character);
                if ('\u{40}'..='\u{7e}').contains(&character) {
                    break;
                }
            }
            let inner = sequence.strip_prefix("\u{1b}[")?.strip_suffix('m')?;
            inner.chars().all(|c| c.is_ascii_digit() || matches!(c, ';' | ':')).then_some(sequence)
        }
        // Titles, links, and what else is a text of its own: up to BEL or ESC \.
        ']' | 'P' | 'X' | '^' | '_' => {
            while let Some(character) = rest.next() {
                if character == '\u{7}' || character == '\u{9c}' {
                    break;
                }
                if character == '\u{1b}' {
                    rest.next_if_eq(&'\\');
                    break;
                }
            }
            None
        }
        // Character sets and the like have one more character.
        '(' | ')' | '*' | '+' | '#' | ' ' | '%' => {
            rest.next();
            None
        }
        _ => None,
    }
}

/// Columns that a text takes, roughly: East Asian characters and pictures take two.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

const fn columns(character: char) -> usize {
    match character {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// A text of at most `most` columns.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut taken = 0;
    let mut out: String = text
        .chars()
        .take_while(|&character| {
            taken += columns(character);
            taken < most
        })
        .collect();
    out.push('…');
    out
}

/// A text of at least `least` columns.
pub(crate) fn pad(text: &str, least: usize) -> String {
    format!("{text}{}", " ".repeat(least.saturating_sub(width(text))))
}

/// How long, for people: three digits are enough.
pub(crate) fn duration(elapsed: TimeDelta) -> String {
    let millis = elapsed.num_milliseconds().max(0);
    match millis {
        0..10_000 => format!("{}.{:02} s", millis / 1000, millis % 1000 / 10),
        10_000..60_000 => ticking(elapsed),
        60_000..3_600_000 => format!("{} min {:02} s", millis / 60_000, millis / 1000 % 60),
        _ => format!("{} h {:02} min", millis / 3_600_000, millis / 60_000 % 60),
    }
}

/// How long so far: not more than one digit that nobody could read.
pub(crate) fn ticking(elapsed: TimeDelta) -> String {
    let millis = elapsed.num_milliseconds().max(0);
    if millis < 60_000 { format!("{}.{} s", millis / 1000, millis / 100 % 10) } else { duration(elapsed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLOURS: Paint = Paint { colours: true };
    const PLAIN: Paint = Paint { colours: false };

    #[test]
    fn a_job_may_colour_its_lines_and_nothing_else() {
        for (line, coloured, plain) in [
            ("plain", "plain", "plain"),
            ("\u{1b}[1;31mred", "\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("a\tb", "a\tb", "a\tb"),
            // Moves, clears, asks, sets the title, rings, switches screens.
            ("\u{1b}[2J\u{1b}[Hgone", "gone", "gone"),
            ("\u{1b}]0;title\u{7}a\u{1b}]8;;http://x\u{1b}\\link", "alink", "alink"),
            ("\u{1b}[?1049h\u{1b}[6n\u{7}\u{8}b", "b", "b"),
            ("\u{1b}(0x\u{1b}c\u{9b}31mc", "x31mc", "x31mc"),
            ("\u{1b}[>4;2mm", "m", "m"),
            ("10 %\r50 %\r100 %", "100 %", "100 %"),
            ("done\r", "done", "done"),
            ("cut \u{1b}[3", "cut ", "cut "),
            ("cut \u{1b}", "cut ", "cut "),
        ] {
            assert_eq!(COLOURS.line(line), coloured, "{line:?}");
            assert_eq!(PLAIN.line(line), plain, "{line:?}");
        }
    }

    #[test]
    fn a_text_is_cut_to_its_columns() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer", 5), "long…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("x", 0), "…");
        assert_eq!(width("日本"), 4);
        assert_eq!(pad("ab", 4), "ab  ");
    }

    #[test]
    fn durations_have_three_digits() {
        for (millis, words) in [
            (-5, "0.00 s"),
            (40, "0.04 s"),
            (9_999, "9.99 s"),
            (10_000, "10.0 s"),
            (61_000, "1 min 01 s"),
            (3_660_000, "1 h 01 min"),
        ] {
            assert_eq!(duration(TimeDelta::milliseconds(millis)), words);
        }
        assert_eq!(ticking(TimeDelta::milliseconds(3_270)), "3.2 s");
    }
}
