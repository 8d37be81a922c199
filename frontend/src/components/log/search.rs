//! Finding text in the whole log. The server counts, since the page has only
//! the lines in sight; what is written meanwhile is counted here.

use std::{collections::BTreeMap, time::Duration};

use devenv_cloud_api::trace::{LogMatch, LogMatches};
use leptos::{ev, html, leptos_dom::helpers::TimeoutHandle, prelude::*};

use super::{ansi, store::LogStore};
use crate::{
    components::keys::use_key,
    context::{use_alive, use_api},
    format,
};

/// Matches that are fetched at a time.
const PAGE: u64 = 500;
/// How long somebody stops writing before it is searched for.
const PAUSE: Duration = Duration::from_millis(250);

/// What was found.
#[derive(Clone, Debug, Default)]
struct Found {
    /// What it was searched for, in lower case; empty before an answer.
    needle: String,
    count: u64,
    /// The last line that is counted.
    searched: u64,
    /// Which match is shown, counted from 1; 0 for none.
    at: u64,
    /// Matches that are known, by their number among all.
    known: BTreeMap<u64, LogMatch>,
    failed: bool,
}

impl Found {
    fn take(&mut self, page: LogMatches) {
        self.count = page.count;
        self.searched = page.searched;
        self.known.extend((page.first..).zip(page.matches));
    }

    /// Counts the lines that were written since.
    fn catch_up(&mut self, store: &LogStore) {
        for (place, line) in store.after(self.searched) {
            self.searched = line.number;
            if ansi::plain(&line.text).to_lowercase().contains(&self.needle) {
                self.count += 1;
                self.known.insert(self.count, LogMatch { number: line.number, place: place as u64 + 1 });
            }
        }
    }

    /// The match after (or before) the one that is shown; around the ends.
    const fn step(&self, forward: bool) -> u64 {
        match (forward, self.at) {
            (true, at) if at < self.count => at + 1,
            (true, _) => 1,
            (false, 0 | 1) => self.count,
            (false, at) => at - 1,
        }
    }

    /// The first known match from this place on, else the first of all.
    fn next_to(&self, place: u64) -> u64 {
        let next = self.known.iter().find(|(_, found)| found.place > place);
        next.or_else(|| self.known.iter().next()).map_or(0, |(number, _)| *number)
    }
}

/// The field, "3 of 120", and the ways to the next and the previous match.
#[component]
pub fn LogSearch(
    /// What to ask the API, up to the words.
    path: String,
    store: RwSignal<LogStore>,
    /// What rows mark.
    needle: RwSignal<String>,
    /// The number of the line that is shown as the match.
    shown: RwSignal<Option<u64>>,
    /// The first place in sight.
    here: impl Fn() -> usize + Send + Sync + 'static,
    /// Brings a place into sight.
    go: impl Fn(usize) + Send + Sync + 'static,
    /// Leaves the field for the log.
    leave: impl Fn() + 'static,
) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let words = RwSignal::new(String::new());
    let found = RwSignal::new(Found::default());
    let field = NodeRef::<html::Input>::new();
    let timer = StoredValue::new(None::<TimeoutHandle>);
    let (here, go) = (StoredValue::new(here), StoredValue::new(go));

    let show = move |number: u64| {
        let known = found.with_untracked(|f| f.known.get(&number).copied());
        if let Some(known) = known {
            found.update(|f| f.at = number);
            shown.set(Some(known.number));
            let place = usize::try_from(known.place).unwrap_or(usize::MAX).saturating_sub(1);
            go.with_value(|go| go(place));
        }
    };
    // Asks for the matches from this one on, and shows `then`, or the first one from here on.
    let ask = move |from: u64, then: Option<u64>| {
        let (api, text) = (api.clone(), words.get_untracked());
        let path = format!("{path}&limit={PAGE}&from={from}&q={}", format::query_value(&text));
        leptos::task::spawn_local(async move {
            let answer = api.get::<LogMatches>(&path).await;
            // The reader may have gone, or written on.
            if words.try_get_untracked() != Some(text) {
                return;
            }
            found.update(|f| {
                f.failed = answer.is_err();
                if let Ok(page) = answer {
                    f.take(page);
                    f.catch_up(&store.read_untracked());
                }
            });
            show(then.unwrap_or_else(|| {
                let place = here.with_value(|here| here() as u64);
                found.with_untracked(|f| f.next_to(place))
            }));
        });
    };
    let ask = StoredValue::new(ask);
    let begin = move || {
        let lower = words.with_untracked(|words| words.to_lowercase());
        found.set(Found { needle: lower.clone(), ..Found::default() });
        shown.set(None);
        let empty = lower.is_empty();
        needle.set(lower);
        if !empty {
            ask.with_value(|ask| ask(1, None));
        }
    };
    let stop_timer = move || {
        let pending = timer.try_update_value(Option::take).flatten();
        pending.inspect(TimeoutHandle::clear).is_some()
    };
    let begin_soon = move || {
        stop_timer();
        timer.set_value(
            set_timeout_with_handle(
                move || {
                    timer.set_value(None);
                    begin();
                },
                PAUSE,
            )
            .ok(),
        );
    };
    on_cleanup(move || {
        stop_timer();
    });
    let step = move |forward: bool| {
        // Whoever is quicker than the pause wants to see the first match.
        if stop_timer() {
            return begin();
        }
        let (count, to) = found.with_untracked(|f| (f.count, f.step(forward)));
        if count == 0 {
            return;
        }
        if found.with_untracked(|f| f.known.contains_key(&to)) {
            show(to);
        } else {
            let from = if forward { to } else { to.saturating_sub(PAGE - 1).max(1) };
            ask.with_value(|ask| ask(from, Some(to)));
        }
    };
    Effect::new(move |_| {
        store.track();
        if found.with_untracked(|f| !f.needle.is_empty() && f.searched > 0) {
            found.update(|f| f.catch_up(&store.read_untracked()));
        }
    });
    use_key("n", "next match in the log", move || step(true));
    use_key("N", "previous match in the log", move || step(false));
    let on_key = move |event: ev::KeyboardEvent| match event.key().as_str() {
        "Enter" => {
            event.prevent_default();
            step(!event.shift_key());
        }
        "Escape" => {
            event.prevent_default();
            words.set(String::new());
            stop_timer();
            begin();
            leave();
        }
        _ => {}
    };
    let nothing = move || found.with(|f| f.count == 0);
    view! {
        <div class="log-search" role="search">
            <input
                node_ref=field
                type="search"
                placeholder="Search the log"
                aria-label="Search the log"
                maxlength="200"
                disabled=move || !alive.get()
                prop:value=move || words.get()
                on:input=move |event| {
                    words.set(event_target_value(&event));
                    begin_soon();
                }
                on:keydown=on_key
            />
            <span class="log-matches muted" role="status">
                {move || {
                    found
                        .with(|f| match f.searched {
                            _ if f.failed => "The log cannot be searched now".to_owned(),
                            0 => String::new(),
                            _ if f.count == 0 => "no match".to_owned(),
                            _ if f.at == 0 => format!("{} found", format::count(f.count)),
                            _ => format!("{} of {}", format::count(f.at), format::count(f.count)),
                        })
                }}
            </span>
            <button type="button" class="button small" title="Previous match (N)" disabled=nothing on:click=move |_| step(false)>
                <span aria-hidden="true">"↑"</span>
                <span class="visually-hidden">"Previous match"</span>
            </button>
            <button type="button" class="button small" title="Next match (n)" disabled=nothing on:click=move |_| step(true)>
                <span aria-hidden="true">"↓"</span>
                <span class="visually-hidden">"Next match"</span>
            </button>
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(count: u64, at: u64) -> Found {
        Found { count, at, ..Found::default() }
    }

    #[test]
    fn matches_go_around() {
        assert_eq!(found(3, 0).step(true), 1);
        assert_eq!(found(3, 3).step(true), 1);
        assert_eq!(found(3, 1).step(false), 3);
        assert_eq!(found(3, 2).step(false), 1);
    }

    #[test]
    fn the_first_match_is_the_next_from_here() {
        let page = LogMatches {
            count: 9,
            first: 1,
            matches: [4, 8].map(|n| LogMatch { number: n, place: n }).to_vec(),
            searched: 10,
            next_cursor: None,
        };
        let mut found = Found::default();
        found.take(page);
        assert_eq!((found.next_to(0), found.next_to(5), found.next_to(9)), (1, 2, 1));
        assert_eq!(Found::default().next_to(0), 0);
    }
}
