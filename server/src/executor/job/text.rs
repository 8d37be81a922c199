//! What becomes of a guest's texts before anybody reads them.

/// Without NUL, which PostgreSQL does not store.
pub(super) fn printable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// Without what controls a terminal, or turns the words around it about. Not for
/// output: its colours are shown, and everything else is taken out where it is
/// shown. Names, messages and reasons stand in lists, in logs and in commands.
pub(super) fn plain(text: String) -> String {
    if text.contains(is_control) { text.replace(is_control, "\u{fffd}") } else { text }
}

fn is_control(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        // Embeddings, overrides and isolates of the bidirectional algorithm.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
}
