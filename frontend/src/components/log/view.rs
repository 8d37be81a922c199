//! The log as it is seen. Rows have one height, so a line's place says where
//! it stands; the rows in sight are moved there as one block. With wrapping on
//! heights differ, so a fixed number of lines flows as text instead.

use devenv_cloud_api::{
    ids::SpanId,
    trace::{LogLine, LogWindow, Stream},
};
use leptos::{ev, html, prelude::*};

use super::{
    ansi,
    store::{LogStore, WINDOW},
    window::{Begin, Feed, Piece, fetch},
};
use crate::{
    browser,
    components::{keys::use_key, state::StateMark},
    context::{use_alive, use_api},
    format,
};

/// The height of a row in CSS pixels; `--log-row` in the style sheet says the same.
const ROW: f64 = 20.0;
/// Rows kept ready above and below what is in sight.
const SPARE: usize = 20;
/// Browsers cannot make an element much higher; longer logs scroll in proportion.
const HIGHEST: f64 = 12_000_000.0;
/// How many lines flow at once with wrapping on.
const FLOWING: usize = 1_000;

/// Lines that the address points at: `#L120` or `#L120-L130`.
#[must_use]
fn marked_lines(fragment: &str) -> Option<(u64, u64)> {
    let text = fragment.strip_prefix("#L")?;
    let (first, last) = match text.split_once("-L") {
        Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
        None => {
            let line = text.parse().ok()?;
            (line, line)
        }
    };
    Some(if first <= last { (first, last) } else { (last, first) })
}

/// Which rows to draw and where, for a scroll position.
#[must_use]
fn in_sight(total: usize, top: f64, height: f64) -> (usize, usize, f64) {
    let whole = whole_height(total);
    #[expect(clippy::cast_precision_loss, reason = "no log has 2^52 lines")]
    let lines = total as f64;
    let exact = if whole < lines * ROW {
        let share = (top / (whole - height).max(1.0)).clamp(0.0, 1.0);
        share * (lines - height / ROW).max(0.0)
    } else {
        (top / ROW).clamp(0.0, lines)
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded by the number of lines"
    )]
    let (first, visible) = (exact.floor() as usize, (height / ROW).ceil() as usize + 1);
    let start = first.saturating_sub(SPARE);
    let end = (first + visible + SPARE).min(total);
    #[expect(clippy::cast_precision_loss, reason = "at most SPARE rows apart")]
    let above = (exact - start as f64) * ROW;
    (start.min(end), end, (top - above).max(0.0))
}

/// The scroll position at which a place is the first in sight.
#[must_use]
fn top_of(total: usize, place: usize, height: f64) -> f64 {
    let whole = whole_height(total);
    #[expect(clippy::cast_precision_loss, reason = "no log has 2^52 lines")]
    let (lines, place) = (total as f64, place as f64);
    if whole < lines * ROW {
        place / (lines - height / ROW).max(1.0) * (whole - height).max(0.0)
    } else {
        place * ROW
    }
}

#[expect(clippy::cast_precision_loss, reason = "no log has 2^52 lines")]
fn whole_height(total: usize) -> f64 {
    (total as f64 * ROW).min(HIGHEST)
}

/// The whole log of an attempt, or of one span.
#[component]
pub fn LogPane(
    /// The job's path below the API's prefix.
    #[prop(into)]
    job: String,
    attempt: u32,
    /// The span that it is the log of; of all if absent.
    span: Option<SpanId>,
    /// What was fetched for the first sight.
    piece: Piece,
    /// Whether more lines may come.
    #[prop(into)]
    live: Signal<bool>,
    /// Where they come from.
    feed: Feed,
) -> impl IntoView {
    let alive = use_alive();
    let api = use_api();
    let first = (piece.from, piece.from + piece.window.lines.len());
    let at_end = first.1 >= usize::try_from(piece.window.total).unwrap_or(usize::MAX);
    let dropped = piece.window.dropped;
    let mut initial = LogStore::default();
    initial.insert(piece.from, piece.window);
    let store = RwSignal::new(initial);
    let total = Memo::new(move |_| store.with(|s| s.total));
    let range = RwSignal::new(first);
    let wrap = RwSignal::new(false);
    let times = RwSignal::new(false);
    let marked = RwSignal::new(None::<(u64, u64)>);
    let follows = RwSignal::new(live.get_untracked() && at_end);
    let scroller = NodeRef::<html::Div>::new();
    let sizer = NodeRef::<html::Div>::new();
    let block = NodeRef::<html::Div>::new();

    let job_path = StoredValue::new(job.clone());
    let fetch_missing = move |from: usize, to: usize| {
        let windows = store.try_update_untracked(|s| s.missing(from, to)).unwrap_or_default();
        for window in windows {
            let (api, job) = (api.clone(), job_path.get_value());
            leptos::task::spawn_local(async move {
                let begin = Begin::At(window * WINDOW);
                let answer = fetch(&api, &job, attempt, span, begin, WINDOW).await;
                let _ = store.try_update(|s| match answer {
                    Ok(piece) => {
                        s.insert(piece.from, piece.window);
                        s.trim(piece.from);
                    }
                    Err(_) => s.give_up(window),
                });
            });
        }
    };
    let fetch_missing = StoredValue::new(fetch_missing);
    let need = move |from: usize, to: usize| {
        let _ = fetch_missing.try_with_value(|fetch| fetch(from, to));
    };

    // Puts the rows that are in sight where they belong.
    let place_rows = move || {
        let (Some(scroller), Some(sizer), Some(block)) =
            (scroller.get_untracked(), sizer.get_untracked(), block.get_untracked())
        else {
            return;
        };
        let total = total.get_untracked();
        if wrap.get_untracked() {
            for property in ["height", "transform"] {
                browser::set_style(if property == "height" { &sizer } else { &block }, property, "");
            }
            return;
        }
        browser::set_style(&sizer, "height", &format!("{}px", whole_height(total)));
        let (start, end, offset) =
            in_sight(total, f64::from(scroller.scroll_top()), f64::from(scroller.client_height()));
        browser::set_style(&block, "transform", &format!("translateY({offset}px)"));
        if range.get_untracked() != (start, end) {
            range.set((start, end));
        }
        need(start, end);
    };
    let scroll_to_place = move |place: usize| {
        if let Some(scroller) = scroller.get_untracked() {
            let height = f64::from(scroller.client_height());
            let top = top_of(total.get_untracked(), place, height) - height / 3.0;
            #[expect(clippy::cast_possible_truncation, reason = "below HIGHEST")]
            scroller.set_scroll_top(top.max(0.0) as i32);
        }
        place_rows();
    };
    let go_to_end = move || {
        if wrap.get_untracked() {
            let total = total.get_untracked();
            range.set((total.saturating_sub(FLOWING), total));
            need(total.saturating_sub(FLOWING), total);
        }
        if let Some(scroller) = scroller.get_untracked() {
            scroller.set_scroll_top(i32::MAX);
        }
        place_rows();
    };

    let on_scroll = move |_| {
        if let Some(scroller) = scroller.get_untracked() {
            let below = scroller.scroll_height() - scroller.scroll_top() - scroller.client_height();
            follows.set(below < 8);
        }
        place_rows();
    };
    // Everything that changes where rows stand: the first sight, new lines, wrapping.
    Effect::new(move |before: Option<()>| {
        total.track();
        wrap.track();
        if before.is_none() {
            marked.set(marked_lines(&browser::fragment()));
            place_rows();
            let place = marked
                .get_untracked()
                .and_then(|(line, _)| place_of_line(&store.read_untracked(), span, line));
            match place {
                Some(place) => {
                    follows.set(false);
                    scroll_to_place(place);
                }
                None if at_end && first.0 > 0 || follows.get_untracked() => go_to_end(),
                None => {}
            }
        } else if follows.get_untracked() {
            go_to_end();
        } else {
            place_rows();
        }
    });
    Effect::new(move |_| {
        let resized = window_event_listener(ev::resize, move |_| place_rows());
        let moved = window_event_listener(ev::hashchange, move |_| {
            marked.set(marked_lines(&browser::fragment()));
            let place = marked
                .get_untracked()
                .and_then(|(line, _)| place_of_line(&store.read_untracked(), span, line));
            if let Some(place) = place {
                scroll_to_place(place);
            }
        });
        on_cleanup(move || {
            resized.remove();
            moved.remove();
        });
    });
    feed.listen(move |lines| {
        let mine = lines.iter().filter(|l| span.is_none_or(|s| l.span == s)).cloned().collect::<Vec<_>>();
        if !mine.is_empty() {
            let _ = store.try_update(|s| s.append(mine));
        }
    });

    let mark = move |number: u64, extend: bool| {
        let lines = match marked.get_untracked() {
            Some((first, _)) if extend => (first.min(number), first.max(number)),
            _ => (number, number),
        };
        marked.set(Some(lines));
        let fragment =
            if lines.0 == lines.1 { format!("#L{}", lines.0) } else { format!("#L{}-L{}", lines.0, lines.1) };
        browser::replace_address(&fragment);
    };
    use_key("w", "wrap long lines", move || wrap.update(|w| *w = !*w));
    use_key("s", "show times", move || times.update(|t| *t = !*t));
    use_key("G", "end of the log", go_to_end);
    let set_wrap = move |on: bool| {
        if on {
            let (start, _) = range.get_untracked();
            let start = start.min(total.get_untracked().saturating_sub(FLOWING));
            let end = (start + FLOWING).min(total.get_untracked());
            range.set((start, end));
            need(start, end);
        }
        wrap.set(on);
    };
    let download = format!("{}{job}/log.txt?attempt={attempt}", devenv_cloud_api::PREFIX);
    view! {
        <section
            class="log"
            class:with-times=move || times.get()
            class:wrapped=move || wrap.get()
            aria-label="Log"
        >
            <div class="log-tools">
                <span class="muted log-count">
                    {move || format::plural(total.get(), "line", "lines")}
                    {(dropped > 0)
                        .then(|| format!(", {} more were cut: the job wrote more than it may", format::count(dropped)))}
                </span>
                <Show when=move || live.get()>
                    <button
                        type="button"
                        class="button small"
                        aria-pressed=move || follows.get().to_string()
                        on:click=move |_| {
                            follows.set(true);
                            go_to_end();
                        }
                    >
                        {move || if follows.get() { "Following" } else { "Follow" }}
                    </button>
                </Show>
                <button
                    type="button"
                    class="button small"
                    disabled=move || !alive.get()
                    aria-pressed=move || times.get().to_string()
                    on:click=move |_| times.update(|t| *t = !*t)
                >
                    "Times"
                </button>
                <button
                    type="button"
                    class="button small"
                    disabled=move || !alive.get()
                    aria-pressed=move || wrap.get().to_string()
                    on:click=move |_| set_wrap(!wrap.get_untracked())
                >
                    "Wrap"
                </button>
                <a class="button small" href=download rel="external" download="">
                    "Download"
                </a>
            </div>
            <div class="log-scroll" node_ref=scroller on:scroll=on_scroll tabindex="0" role="region" aria-label="Lines">
                <Show when=move || total.get() == 0>
                    <p class="log-empty muted">
                        {move || if live.get() { "Nothing written yet." } else { "Nothing was written here." }}
                    </p>
                </Show>
                <div class="log-sizer" node_ref=sizer>
                    <div class="log-rows" node_ref=block>
                        <For
                            each=move || {
                                let (start, end) = range.get();
                                start..end.min(total.get())
                            }
                            key=|place| *place
                            children=move |place| {
                                let line = Memo::new(move |_| store.with(|s| s.get(place).cloned()));
                                let is_marked = Memo::new(move |_| {
                                    line.with(|l| {
                                        l.as_ref()
                                            .zip(marked.get())
                                            .is_some_and(|(l, (from, to))| (from..=to).contains(&l.number))
                                    })
                                });
                                view! {
                                    <div class="log-row" class:marked=move || is_marked.get()>
                                        {move || {
                                            line.get()
                                                .map(|line| view! { <Row line on_mark=move |n, extend| mark(n, extend) /> })
                                        }}
                                    </div>
                                }
                            }
                        />
                    </div>
                </div>
            </div>
        </section>
    }
}

/// Where a line stands. In the whole log a line's number says it.
fn place_of_line(store: &LogStore, span: Option<SpanId>, number: u64) -> Option<usize> {
    if span.is_some() {
        return store.place_of(number);
    }
    usize::try_from(number).ok()?.checked_sub(1).filter(|place| *place < store.total)
}

/// What stands in a row.
#[component]
fn Row(line: LogLine, on_mark: impl Fn(u64, bool) + 'static) -> impl IntoView {
    let number = line.number;
    let class = match line.stream {
        Stream::Stdout => "log-text",
        Stream::Stderr => "log-text is-stderr",
        Stream::System => "log-text is-system",
    };
    view! {
        <a
            class="log-number"
            id=format!("L{number}")
            href=format!("#L{number}")
            tabindex="-1"
            rel="external"
            on:click=move |event: ev::MouseEvent| {
                event.prevent_default();
                on_mark(number, event.shift_key());
            }
        >
            {number}
        </a>
        <span class="log-time">{line.time.format("%H:%M:%S%.3f").to_string()}</span>
        <span class=class>{text(&line.text)}</span>
    }
}

/// A line's text with its colours.
fn text(line: &str) -> impl IntoView + use<> {
    ansi::pieces(line)
        .into_iter()
        .map(|piece| {
            if piece.class.is_empty() {
                piece.text.into_any()
            } else {
                view! { <span class=piece.class>{piece.text}</span> }.into_any()
            }
        })
        .collect_view()
}

/// The last lines of something that failed, without tools.
#[component]
pub fn Excerpt(
    /// What it is the end of.
    #[prop(into)]
    title: String,
    state: devenv_cloud_api::runs::State,
    /// Where the whole is.
    #[prop(into)]
    href: String,
    window: LogWindow,
) -> impl IntoView {
    let title: String = title;
    let label = format!("Last lines of {title}");
    let more = usize::try_from(window.total).unwrap_or(usize::MAX).saturating_sub(window.lines.len());
    view! {
        <section class="excerpt">
            <header>
                <StateMark state />
                <a href=href.clone() data-row="" data-failure="">
                    <code>{title}</code>
                </a>
                {(more > 0)
                    .then(|| {
                        view! {
                            <span class="muted">
                                {format::plural(more, "earlier line", "earlier lines")}
                            </span>
                        }
                    })}
            </header>
            <div class="log-rows excerpt-rows" tabindex="0" role="region" aria-label=label>
                {window
                    .lines
                    .into_iter()
                    .map(|line| {
                        view! {
                            <div class="log-row">
                                <a class="log-number" tabindex="-1" href=format!("{href}#L{}", line.number)>
                                    {line.number}
                                </a>
                                <span class="log-text">{text(&line.text)}</span>
                            </div>
                        }
                    })
                    .collect_view()}
            </div>
        </section>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_points_at_lines() {
        for (fragment, lines) in [
            ("#L120", Some((120, 120))),
            ("#L120-L130", Some((120, 130))),
            ("#L130-L120", Some((120, 130))),
            ("#L", None),
            ("#120", None),
            ("", None),
        ] {
            assert_eq!(marked_lines(fragment), lines, "{fragment}");
        }
    }

    #[test]
    fn rows_in_sight_follow_the_scroll_position() {
        assert_eq!(in_sight(10, 0.0, 600.0), (0, 10, 0.0));
        let (start, end, offset) = in_sight(10_000, 20_000.0, 600.0);
        assert_eq!((start, end), (980, 1_051));
        assert!((offset - 19_600.0).abs() < 0.01);
    }

    #[test]
    fn a_million_lines_are_reachable_to_the_last() {
        let total = 1_000_000;
        let bottom = whole_height(total) - 600.0;
        assert_eq!(in_sight(total, bottom, 600.0).1, total);
        assert_eq!(in_sight(total, 0.0, 600.0).0, 0);
        // Going to a line brings it into sight.
        let top = top_of(total, 654_321, 600.0);
        let (start, end, _) = in_sight(total, top, 600.0);
        assert!((start..end).contains(&654_321));
    }
}
