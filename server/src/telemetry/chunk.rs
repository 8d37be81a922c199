//! Chunks: how records are stored. A version byte, then zstd of postcard.
//!
//! The stored form is a type of its own, so that the API's types can change
//! without old chunks becoming unreadable; its order of variants and fields is
//! its encoding.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
};

use devenv_cloud_api::{
    Timestamp,
    ids::SpanId,
    runs::{Stage, State},
    trace::{LogLine, SpanKind, Stream},
};
use serde::{Deserialize, Serialize};

use super::Record;

/// The version of the encoding.
const VERSION: u8 = 1;

/// Bytes of text and names after which a chunk is full, roughly.
pub(super) const FULL: usize = 2 << 20;

/// No chunk is longer than this when it is decompressed; what is, was not made by us.
const LONGEST: u64 = 64 << 20;

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Stored {
    Opened {
        id: u64,
        parent: Option<u64>,
        kind: String,
        stage: Option<String>,
        name: String,
        time: i64,
        attributes: BTreeMap<String, String>,
    },
    Closed {
        id: u64,
        time: i64,
        state: String,
        attributes: BTreeMap<String, String>,
    },
    Line {
        span: u64,
        stream: u8,
        time: i64,
        text: String,
    },
    /// An annotation. Its content stands in the attempt's row; here it keeps the numbering whole.
    Annotation,
    /// A line beyond the limit: counted, not kept.
    Dropped,
    /// How many lines a span has. Only in the object that holds an ended
    /// attempt's spans without its lines.
    Lines {
        span: u64,
        count: u64,
    },
}

/// Why a chunk cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// Made by a newer program, or no chunk at all.
    #[error("a chunk of version {0}, which this program does not know")]
    Version(u8),
    /// Cut off or overwritten.
    #[error("a chunk that cannot be decompressed: {0}")]
    Zstd(#[from] std::io::Error),
    /// Not what it says.
    #[error("a chunk that cannot be understood: {0}")]
    Content(#[from] postcard::Error),
}

impl Stored {
    pub(super) fn of(record: &Record) -> Self {
        match record.clone() {
            Record::Opened { id, parent, kind, stage, name, time, attributes } => Self::Opened {
                id: id.0,
                parent: parent.map(|id| id.0),
                kind: kind.to_string(),
                stage: stage.map(|stage| stage.to_string()),
                name,
                time: time.timestamp_micros(),
                attributes,
            },
            Record::Closed { id, time, state, attributes } => {
                Self::Closed { id: id.0, time: time.timestamp_micros(), state: state.to_string(), attributes }
            }
            Record::Line { span, stream, time, text } => {
                let stream = match stream {
                    Stream::Stdout => 0,
                    Stream::Stderr => 1,
                    Stream::System => 2,
                };
                Self::Line { span: span.0, stream, time: time.timestamp_micros(), text }
            }
            Record::Annotation(_) => Self::Annotation,
        }
    }

    /// Whether it says something about a span.
    pub(super) const fn is_about_spans(&self) -> bool {
        matches!(self, Self::Opened { .. } | Self::Closed { .. } | Self::Lines { .. })
    }

    /// How much room it takes, roughly.
    pub(super) fn weight(&self) -> usize {
        let of = |attributes: &BTreeMap<String, String>| {
            attributes.iter().map(|(key, value)| key.len() + value.len() + 2).sum::<usize>()
        };
        24 + match self {
            Self::Opened { name, attributes, .. } => name.len() + of(attributes),
            Self::Closed { attributes, .. } => of(attributes),
            Self::Line { text, .. } => text.len(),
            _ => 0,
        }
    }

    /// The line of a log that it is, if it is one.
    pub(super) fn line(self, number: u64) -> Option<LogLine> {
        let Self::Line { span, stream, time, text } = self else { return None };
        let stream = match stream {
            0 => Stream::Stdout,
            1 => Stream::Stderr,
            _ => Stream::System,
        };
        Some(LogLine { number, span: SpanId(span), stream, time: instant(time), text })
    }
}

pub(super) fn instant(micros: i64) -> Timestamp {
    Timestamp::from_timestamp_micros(micros).unwrap_or_default()
}

pub(super) fn kind(word: &str) -> SpanKind {
    word.parse().unwrap_or(SpanKind::Other)
}

pub(super) fn stage(word: Option<&String>) -> Option<Stage> {
    word.and_then(|word| word.parse().ok())
}

pub(super) fn state(word: &str) -> State {
    word.parse().unwrap_or(State::Error)
}

pub(super) fn encode(records: &[Stored]) -> Result<Vec<u8>, ChunkError> {
    let plain = postcard::to_stdvec(records)?;
    let mut encoder = zstd::Encoder::new(vec![VERSION], 3)?;
    encoder.write_all(&plain)?;
    Ok(encoder.finish()?)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Stored>, ChunkError> {
    let (version, rest) = bytes.split_first().ok_or(ChunkError::Version(0))?;
    if *version != VERSION {
        return Err(ChunkError::Version(*version));
    }
    let mut plain = Vec::new();
    zstd::Decoder::new(rest)?.take(LONGEST).read_to_end(&mut plain)?;
    Ok(postcard::from_bytes(&plain)?)
}

/// How many lines each span has in these records, as it stands in the index.
pub(super) fn span_lines(records: &[Stored]) -> Result<Vec<u8>, ChunkError> {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for record in records {
        if let Stored::Line { span, .. } = record {
            *counts.entry(*span).or_default() += 1;
        }
    }
    Ok(postcard::to_stdvec(&counts)?)
}

/// How many of a chunk's lines are this span's.
pub(super) fn lines_of(span_lines: &[u8], span: SpanId) -> u64 {
    let counts: BTreeMap<u64, u64> = postcard::from_bytes(span_lines).unwrap_or_default();
    counts.get(&span.0).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Stored {
        Stored::Line { span: 7, stream: 1, time: 1_700_000_000_000_000, text: text.to_owned() }
    }

    #[test]
    fn records_survive_the_way_into_a_chunk_and_back() {
        let records = vec![
            Stored::Opened {
                id: 7,
                parent: None,
                kind: "task".to_owned(),
                stage: Some("task".to_owned()),
                name: "app:test".to_owned(),
                time: 1,
                attributes: [("a".to_owned(), "b".to_owned())].into(),
            },
            line("hello \u{1b}[31mred\u{1b}[0m"),
            Stored::Dropped,
            Stored::Annotation,
        ];
        assert_eq!(decode(&encode(&records).unwrap()).unwrap(), records);
    }

    #[test]
    fn a_chunk_of_another_version_is_refused() {
        let mut bytes = encode(&[line("x")]).unwrap();
        bytes[0] = 9;
        assert!(matches!(decode(&bytes), Err(ChunkError::Version(9))));
    }

    #[test]
    fn a_chunk_cut_short_is_refused() {
        let bytes = encode(&vec![line("x"); 100]).unwrap();
        assert!(decode(&bytes[..bytes.len() / 2]).is_err());
        assert!(decode(&[]).is_err());
    }

    #[test]
    fn a_chunk_that_would_unpack_without_end_is_not_unpacked() {
        let mut encoder = zstd::Encoder::new(vec![VERSION], 3).unwrap();
        for _ in 0..200 {
            encoder.write_all(&vec![0; 1 << 20]).unwrap();
        }
        // 200 MiB of nothing are no records, and only the first 64 MiB were looked at.
        let result = decode(&encoder.finish().unwrap());
        assert!(result.is_ok_and(|records| records.is_empty()));
    }

    #[test]
    fn the_index_knows_whose_lines_they_are() {
        let index = span_lines(&[line("a"), line("b"), Stored::Dropped]).unwrap();
        assert_eq!(lines_of(&index, SpanId(7)), 2);
        assert_eq!(lines_of(&index, SpanId(8)), 0);
    }
}
