//! A person's terminal: looks, widths, and lines that stay above a few that move.

pub(crate) mod text;

use std::{
    io::{self, IsTerminal as _, Write},
    time::Duration,
};

/// How often what moves is painted.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// What the terminal can do, and is wanted to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// Whether there are colours and lines that move.
    pub(crate) lively: bool,
}

impl Abilities {
    /// Colours and moving lines are for people: off when standard output is no
    /// terminal, for a terminal that can do nothing, and where `NO_COLOR` is
    /// set to anything (<https://no-color.org>).
    pub(crate) fn find() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        Self { lively: io::stdout().is_terminal() && !set("NO_COLOR") && !dumb }
    }
}

/// Where the lines go.
#[derive(Debug)]
pub(crate) struct Screen<W: Write> {
    out: W,
    lively: bool,
    /// Lines that moved when it was painted last.
    moving: usize,
    hidden: bool,
}

impl<W: Write> Screen<W> {
    pub(crate) const fn new(out: W, abilities: Abilities) -> Self {
        Self { out, lively: abilities.lively, moving: 0, hidden: false }
    }

    /// Adds lines that stay, and replaces those that move.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub(crate) fn paint(&mut self, stay: &[String], moving: &[String]) -> io::Result<()> {
        let mut text = String::new();
        if self.moving > 0 {
            // Up to the first that moved, and all below it away.
            text.push_str(&format!("\u{1b}[{}F\u{1b}[J", self.moving));
        }
        for line in stay {
            text.push_str(line);
            text.push('\n');
        }
        self.moving = 0;
        if self.lively {
            if moving.is_empty() && self.hidden {
                text.push_str("\u{1b}[?25h");
                self.hidden = false;
            }
            if !moving.is_empty() {
                if !self.hidden {
                    // No cursor jumping about.
                    text.push_str("\u{1b}[?25l");
                    self.hidden = true;
                }
                // A line that is too long after all must not become two.
                text.push_str("\u{1b}[?7l");
                for line in moving {
                    text.push_str(line);
                    text.push('\n');
                }
                text.push_str("\u{1b}[?7h");
                self.moving = moving.len();
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        // Whatever happened: the terminal gets its cursor back.
        let _ = self.paint(&[], &[]);
    }
}

/// Columns and lines of the terminal on standard output.
pub(crate) fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn what_moves_is_replaced_and_what_stays_stands_above_it() {
        let mut out = Vec::new();
        {
            let mut screen = Screen::new(&mut out, Abilities { lively: true });
            screen.paint(&lines(&["stays"]), &lines(&["a", "b"])).unwrap();
            screen.paint(&lines(&["stays too"]), &lines(&["c"])).unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "stays\n\u{1b}[?25l\u{1b}[?7la\nb\n\u{1b}[?7h\u{1b}[2F\u{1b}[Jstays too\n\u{1b}[?7lc\n\u{1b}[?7h\
             \u{1b}[1F\u{1b}[J\u{1b}[?25h"
        );
    }

    #[test]
    fn nothing_moves_where_nothing_can() {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, Abilities { lively: false });
        screen.paint(&lines(&["stays"]), &lines(&["moves"])).unwrap();
        screen.paint(&[], &lines(&["moves"])).unwrap();
        drop(screen);
        assert_eq!(out, b"stays\n");
    }
}
