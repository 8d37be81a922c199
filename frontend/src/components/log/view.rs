//! The log as it is seen. Rows have one height, so a line's place says where
//! it stands; the rows in sight are moved there as one block. With wrapping on
//! heights differ, so a fixed number of lines flows as text instead.

use std::sync::Arc;

use devenv_cloud_api::ids::SpanId;
use leptos::{ev, html, prelude::*};
use web_sys::ScrollLogicalPosition;

use super::{
    place::{in_sight, marked_lines, rows_above, top_of, whole_height},
    row::Row,
    search::LogSearch,
    store::{LogStore, WINDOW},
    window::{Begin, Feed, Piece, fetch},
};
use crate::{
    browser,
    components::keys::use_key,
    context::{use_alive, use_api},
    format,
};

/// How many lines flow at once with wrapping on.
const FLOWING: usize = 1_000;

/// What lines of a whole log belong to: a task, or a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its span.
    pub span: SpanId,
    /// Its name.
    pub name: String,
    /// The address of its own log.
    pub href: String,
}

/// Says of each span what group its lines are of.
#[derive(Clone)]
pub struct Groups {
    /// The group of a span's lines.
    pub of: Arc<dyn Fn(SpanId) -> Option<Group> + Send + Sync>,
    /// Whether there is more than one.
    pub many: Signal<bool>,
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
    /// Whose lines are whose, in the log of more than one span.
    groups: Option<Groups>,
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
    // What the reader searches for, and the line where they found it.
    let needle = RwSignal::new(String::new());
    let shown = RwSignal::new(None::<u64>);
    // The first line in sight.
    let top = RwSignal::new(first.0);
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
            let place =
                line_at_top(&scroller).and_then(|line| place_of_line(&store.read_untracked(), span, line));
            if let Some(place) = place.filter(|place| top.get_untracked() != *place) {
                top.set(place);
            }
            return;
        }
        browser::set_style(&sizer, "height", &format!("{}px", format::decimal(whole_height(total))));
        let (start, end, offset) =
            in_sight(total, f64::from(scroller.scroll_top()), f64::from(scroller.client_height()));
        browser::set_style(&block, "transform", &format!("translateY({}px)", format::decimal(offset)));
        let first = start + rows_above(f64::from(scroller.scroll_top()) - offset);
        if top.get_untracked() != first {
            top.set(first);
        }
        if range.get_untracked() != (start, end) {
            range.set((start, end));
        }
        need(start, end);
    };
    // So far down that this share of what is in sight stands above the place.
    let scroll_so = move |place: usize, above: f64| {
        if let Some(scroller) = scroller.get_untracked() {
            let height = f64::from(scroller.client_height());
            let top = top_of(total.get_untracked(), place, height) - height * above;
            #[expect(clippy::cast_possible_truncation, reason = "below HIGHEST")]
            scroller.set_scroll_top(top.max(0.0) as i32);
        }
        place_rows();
    };
    let scroll_to_place = move |place: usize| scroll_so(place, 1.0 / 3.0);
    let scroll_to_first = move |place: usize| scroll_so(place, 0.0);
    // Where lines are wrapped, they flow: their place is where the browser puts them.
    let show_flowing = move |place: usize, at: ScrollLogicalPosition| {
        let (start, end) = range.get_untracked();
        if !(start..end).contains(&place) {
            let start = place.saturating_sub(FLOWING / 2);
            let end = (start + FLOWING).min(total.get_untracked());
            range.set((start, end));
            need(start, end);
        }
        let start = range.get_untracked().0;
        request_animation_frame(move || {
            if let Some(block) = block.get_untracked() {
                browser::show_child(&block, place - start, at);
            }
        });
    };
    let show_place = move |place: usize| {
        follows.set(false);
        if wrap.get_untracked() {
            show_flowing(place, ScrollLogicalPosition::Center);
        } else {
            scroll_to_place(place);
        }
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
    use_key("s", "show times", move || times.update(|t| *t = !*t));
    use_key("G", "end of the log", go_to_end);
    // The line that was the first in sight stays it.
    let set_wrap = move |on: bool| {
        let place = top.get_untracked();
        if on {
            let start = place.saturating_sub(FLOWING / 2);
            let end = (start + FLOWING).min(total.get_untracked());
            range.set((start, end));
            need(start, end);
        }
        wrap.set(on);
        if follows.get_untracked() {
            return;
        }
        request_animation_frame(move || {
            if on {
                show_flowing(place, ScrollLogicalPosition::Start);
            } else {
                scroll_to_first(place);
            }
        });
    };
    use_key("w", "wrap long lines", move || set_wrap(!wrap.get_untracked()));
    let many = groups.as_ref().map_or_else(|| Signal::stored(false), |groups| groups.many);
    let groups = StoredValue::new(groups.map(|groups| groups.of));
    let group_at = move |place: usize| {
        let span = store.with(|s| s.get(place).map(|line| line.span))?;
        groups.with_value(|of| of.as_ref().and_then(|of| of(span)))
    };
    // The group of the first line in sight, wherever it began.
    let here = Memo::new(move |_| if many.get() { group_at(top.get()) } else { None });
    let only = span.map(|span| format!("&span={span}")).unwrap_or_default();
    let search = format!("{job}/log/search?attempt={attempt}{only}");
    let leave = move || {
        if let Some(scroller) = scroller.get_untracked() {
            let _ = scroller.focus();
        }
    };
    let download = format!("{}{job}/log.txt?attempt={attempt}", devenv_cloud_api::PREFIX);
    view! {
        <section
            class="log"
            class:with-times=move || times.get()
            class:wrapped=move || wrap.get()
            class:grouped=move || many.get()
            aria-label="Log"
        >
            <div class="log-tools">
                <LogSearch path=search store needle shown here=move || top.get_untracked() go=show_place leave />
                <span class="muted log-count">
                    {move || {
                        here.get()
                            .map(|group| {
                                view! {
                                    <a class="log-here" href=group.href title="The log of this alone">
                                        {group.name}
                                    </a>
                                }
                            })
                    }}
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
                                let is_shown = Memo::new(move |_| {
                                    shown.get().is_some_and(|n| line.with(|l| l.as_ref().is_some_and(|l| l.number == n)))
                                });
                                // Named where it changes.
                                let group = Memo::new(move |_| {
                                    let this = if many.get() { group_at(place) } else { None };
                                    let before = place.checked_sub(1).and_then(group_at);
                                    this.filter(|this| before.is_none_or(|before| before.span != this.span))
                                });
                                view! {
                                    <div
                                        class="log-row"
                                        class:marked=move || is_marked.get()
                                        class:found=move || is_shown.get()
                                    >
                                        {move || {
                                            group
                                                .get()
                                                .map(|group| {
                                                    view! {
                                                        <a class="log-group clip" tabindex="-1" href=group.href title=group.name.clone()>
                                                            {group.name.clone()}
                                                        </a>
                                                    }
                                                })
                                        }}
                                        {move || {
                                            line.get()
                                                .map(|line| {
                                                    view! { <Row line needle on_mark=move |n, extend| mark(n, extend) /> }
                                                })
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

/// The number of the line that flows at the upper edge.
fn line_at_top(scroller: &web_sys::Element) -> Option<u64> {
    let edge = scroller.get_bounding_client_rect();
    #[expect(clippy::cast_possible_truncation, reason = "pixels of a window")]
    let (x, y) = ((edge.left() + edge.width() / 2.0) as f32, edge.top() as f32 + 4.0);
    let row = document().element_from_point(x, y)?.closest(".log-row").ok()??;
    row.query_selector(".log-number").ok()??.id().strip_prefix('L')?.parse().ok()
}

/// Where a line stands. In the whole log a line's number says it.
fn place_of_line(store: &LogStore, span: Option<SpanId>, number: u64) -> Option<usize> {
    if span.is_some() {
        return store.place_of(number);
    }
    usize::try_from(number).ok()?.checked_sub(1).filter(|place| *place < store.total)
}
