//! Where a log's lines come from: windows by place, and the live feed.

use std::sync::Arc;

use devenv_cloud_api::{
    client::Error,
    ids::SpanId,
    trace::{LogLine, LogWindow},
};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};

use crate::transport::Api;

/// What part of a log to show first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// From this place, counted from 0.
    At(usize),
    /// The last lines.
    Tail,
}

/// How many lines the server renders.
pub const FIRST: usize = 300;

/// A window with the place of its first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The place of the first line, counted from 0.
    pub from: usize,
    /// The lines.
    pub window: LogWindow,
}

/// Reads a part of a log. `job` is the job's path below the API's prefix.
///
/// # Errors
/// When the API says no.
pub async fn fetch(
    api: &Api,
    job: &str,
    attempt: u32,
    span: Option<SpanId>,
    begin: Begin,
    limit: usize,
) -> Result<Piece, Error> {
    let span = span.map(|span| format!("&span={span}")).unwrap_or_default();
    let part = match begin {
        Begin::At(place) => format!("from={}&limit={limit}", place + 1),
        Begin::Tail => format!("tail={limit}"),
    };
    let window: LogWindow = api.get(&format!("{job}/log?attempt={attempt}&{part}{span}")).await?;
    let from = match begin {
        Begin::At(place) => place,
        Begin::Tail => usize::try_from(window.total).unwrap_or(usize::MAX).saturating_sub(window.lines.len()),
    };
    Ok(Piece { from, window })
}

type Listener = Arc<dyn Fn(&[LogLine]) + Send + Sync>;

/// Live lines, from the job's stream to whatever log is shown now.
#[derive(Clone, Copy)]
pub struct Feed(StoredValue<Vec<(u64, Listener)>>);

impl Default for Feed {
    fn default() -> Self {
        Self(StoredValue::new(Vec::new()))
    }
}

impl Feed {
    /// Gives lines to all who listen.
    pub fn send(self, lines: &[LogLine]) {
        let listeners = self.0.try_get_value().unwrap_or_default();
        for (_, listener) in listeners {
            listener(lines);
        }
    }

    /// Listens until the component goes away.
    pub fn listen(self, listener: impl Fn(&[LogLine]) + Send + Sync + 'static) {
        let id = self.0.with_value(|l| l.last().map_or(0, |(id, _)| id + 1));
        self.0.update_value(|l| l.push((id, Arc::new(listener))));
        on_cleanup(move || {
            let _ = self.0.try_update_value(|l| l.retain(|(other, _)| *other != id));
        });
    }
}
