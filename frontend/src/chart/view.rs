//! The waterfall as it is seen: tools, axis, minimap, and the rows in sight.

use std::collections::HashSet;

use devenv_cloud_api::{
    ids::SpanId,
    runs::State,
    trace::{Span, SpanKind},
};
use leptos::{ev, html, prelude::*};

use super::{
    minimap::Minimap,
    model::{Filter, Model, Row, bar, ticks},
};
use crate::{
    browser,
    components::{
        keys::use_key,
        state::{StateShape, class, is_bad, word},
    },
    context::{use_alive, use_now},
    format,
};

/// The height of a row in CSS pixels; `--wf-row` in the style sheet says the same.
const ROW: usize = 26;
/// Rows kept ready above and below what is in sight.
const SPARE: usize = 12;
/// How many rows the server renders.
const FIRST: usize = 200;
/// Deeper rows are not indented further.
const DEEPEST: u32 = 10;

/// The class that colours a bar.
const fn kind_class(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Job => "kind-job",
        SpanKind::Stage => "kind-stage",
        SpanKind::Task => "kind-task",
        SpanKind::Evaluation => "kind-evaluation",
        SpanKind::Build => "kind-build",
        SpanKind::Fetch => "kind-fetch",
        SpanKind::Command => "kind-command",
        SpanKind::Other => "kind-other",
    }
}

/// Pixels as the element wants them.
fn pixels(rows: usize) -> i32 {
    i32::try_from(rows.saturating_mul(ROW)).unwrap_or(i32::MAX)
}

/// The spans of an attempt over time.
#[component]
pub fn Waterfall(
    model: RwSignal<Model>,
    /// How many spans there are, of which some may not be here yet.
    total: usize,
    /// The span that is chosen.
    #[prop(into)]
    selected: Signal<Option<SpanId>>,
    /// The address that chooses a span.
    href: impl Fn(SpanId) -> String + Clone + Send + Sync + 'static,
    /// Chooses a span without a load.
    on_select: impl Fn(SpanId) + Clone + Send + Sync + 'static,
) -> impl IntoView {
    let alive = use_alive();
    let clock = use_now();
    let running = Memo::new(move |_| model.with(Model::is_running));
    // The clock moves bars only while something runs.
    let now = Memo::new(move |_| if running.get() { clock.get() } else { Default::default() });
    let text = RwSignal::new(String::new());
    let kind = RwSignal::new(String::new());
    let state = RwSignal::new(String::new());
    let critical = RwSignal::new(false);
    let collapsed = RwSignal::new(HashSet::<SpanId>::new());
    let filter = Memo::new(move |_| Filter {
        text: text.get().trim().to_lowercase(),
        kind: kind.get().parse().ok(),
        state: state.get().parse().ok(),
    });
    let rows = Memo::new(move |_| model.with(|m| m.rows(&filter.read(), &collapsed.read())));
    let path =
        Memo::new(
            move |_| {
                if critical.get() { model.with(|m| m.critical_path(clock.get())) } else { HashSet::new() }
            },
        );
    let bounds = Memo::new(move |_| model.with(|m| m.bounds(now.get())));
    let range = RwSignal::new((0, FIRST));
    let sight = RwSignal::new((0.0, 1.0));
    let scroller = NodeRef::<html::Div>::new();
    let sizer = NodeRef::<html::Div>::new();
    let block = NodeRef::<html::Ul>::new();

    let place_rows = move || {
        let (Some(scroller), Some(sizer), Some(block)) =
            (scroller.get_untracked(), sizer.get_untracked(), block.get_untracked())
        else {
            return;
        };
        let total = rows.with_untracked(Vec::len);
        browser::set_style(&sizer, "height", &format!("{}px", pixels(total)));
        let (top, height) = (scroller.scroll_top().max(0), scroller.client_height().max(0));
        let first = usize::try_from(top).unwrap_or(0) / ROW;
        let visible = usize::try_from(height).unwrap_or(0).div_ceil(ROW) + 1;
        let start = first.saturating_sub(SPARE).min(total);
        let end = (first + visible + SPARE).min(total);
        browser::set_style(&block, "transform", &format!("translateY({}px)", pixels(start)));
        if range.get_untracked() != (start, end) {
            range.set((start, end));
        }
        let whole = f64::from(pixels(total).max(1));
        sight.set((
            (f64::from(top) / whole).min(1.0),
            (f64::from(top.saturating_add(height)) / whole).min(1.0),
        ));
    };
    let bring_into_sight = move |id: SpanId| {
        let Some(scroller) = scroller.get_untracked() else { return };
        let Some(at) = rows.with_untracked(|rows| rows.iter().position(|r| r.span == id)) else { return };
        let (top, height) = (scroller.scroll_top(), scroller.client_height());
        if pixels(at) < top || pixels(at + 1) > top + height {
            scroller.set_scroll_top((pixels(at) - height / 3).max(0));
        }
        place_rows();
    };
    // The first sight goes to what is chosen; later changes stay where the reader is.
    Effect::new(move |before: Option<()>| {
        rows.track();
        place_rows();
        if before.is_none()
            && let Some(id) = selected.get_untracked()
        {
            bring_into_sight(id);
        }
    });
    Effect::new(move |_| {
        let resized = window_event_listener(ev::resize, move |_| place_rows());
        on_cleanup(move || resized.remove());
    });

    let select = StoredValue::new(on_select);
    let choose = move |id: SpanId| {
        // What is hidden in a collapsed span comes out.
        let above = model.with_untracked(|m| m.ancestors(id));
        if collapsed.with_untracked(|c| above.iter().any(|a| c.contains(a))) {
            collapsed.update(|c| c.retain(|s| !above.contains(s)));
        }
        select.with_value(|select| select(id));
        bring_into_sight(id);
    };
    let step = move |forward: bool| {
        let next = rows.with_untracked(|rows| {
            let at = selected.get_untracked().and_then(|id| rows.iter().position(|r| r.span == id));
            let to = match (at, forward) {
                (None, _) => 0,
                (Some(at), true) => at + 1,
                (Some(at), false) => at.checked_sub(1)?,
            };
            rows.get(to).map(|r| r.span)
        });
        if let Some(id) = next {
            choose(id);
        }
    };
    let toggle = move |id: SpanId| {
        collapsed.update(|c| {
            if !c.remove(&id) {
                c.insert(id);
            }
        });
    };
    use_key("j", "next span", move || step(true));
    use_key("k", "previous span", move || step(false));
    use_key("o", "open or close a span", move || {
        if let Some(id) = selected.get_untracked() {
            toggle(id);
        }
    });
    use_key("c", "critical path", move || critical.update(|c| *c = !*c));
    use_key("f", "next failure", move || {
        let failures = model.with_untracked(Model::failures);
        let at = selected.get_untracked().and_then(|id| failures.iter().position(|f| *f == id));
        let next = at.map_or(0, |at| at + 1);
        if let Some(id) = failures.get(next).or_else(|| failures.first()) {
            choose(*id);
        }
    });
    use_key("t", "to the trace", move || {
        if let Some(scroller) = scroller.get_untracked() {
            let _ = scroller.focus();
        }
    });

    let kinds = move || {
        let there: HashSet<SpanKind> = model.with(|m| m.in_order().map(|s| s.kind).collect());
        SpanKind::ALL.iter().copied().filter(|kind| there.contains(kind)).collect::<Vec<_>>()
    };
    let states = move || {
        let there: HashSet<State> = model.with(|m| m.in_order().map(|s| s.state).collect());
        State::ALL.iter().copied().filter(|state| there.contains(state)).collect::<Vec<_>>()
    };
    let kinds = Memo::new(move |_| kinds());
    let states = Memo::new(move |_| states());
    let href = StoredValue::new(href);

    view! {
        <section class="waterfall" class:with-path=move || critical.get() aria-label="Trace">
            <div class="wf-tools">
                <input
                    type="search"
                    class="wf-search"
                    placeholder="Search spans"
                    aria-label="Search spans"
                    disabled=move || !alive.get()
                    on:input=move |event| text.set(event_target_value(&event))
                />
                <select
                    aria-label="Kind"
                    disabled=move || !alive.get()
                    on:change=move |event| kind.set(event_target_value(&event))
                >
                    <option value="">"every kind"</option>
                    {move || kinds.get().into_iter().map(|k| view! { <option value=k.as_str()>{k.as_str()}</option> }).collect_view()}
                </select>
                <select
                    aria-label="State"
                    disabled=move || !alive.get()
                    on:change=move |event| state.set(event_target_value(&event))
                >
                    <option value="">"every state"</option>
                    {move || states.get().into_iter().map(|s| view! { <option value=s.as_str()>{word(s)}</option> }).collect_view()}
                </select>
                <button
                    type="button"
                    class="button small"
                    disabled=move || !alive.get()
                    aria-pressed=move || critical.get().to_string()
                    title="Dims what did not decide how long the job took"
                    on:click=move |_| critical.update(|c| *c = !*c)
                >
                    "Critical path"
                </button>
                <span class="muted wf-count" role="status">
                    {move || {
                        let (shown, here) = (rows.with(Vec::len), model.with(Model::len));
                        let all = here.max(total);
                        if shown == here {
                            format::plural(all, "span", "spans")
                        } else {
                            format!("{} of {}", format::count(shown as u64), format::plural(all, "span", "spans"))
                        }
                    }}
                </span>
            </div>
            <div class="wf-axis" aria-hidden="true">
                <svg width="100%" height="20">
                    {move || {
                        bounds
                            .get()
                            .map(|(start, end)| {
                                let whole = (end - start).num_milliseconds();
                                ticks(whole, 5)
                                    .into_iter()
                                    .filter(|tick| tick * 100 <= whole * 92)
                                    .map(|tick| {
                                        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a job")]
                                        let x = format::percent(tick as f64 / whole.max(1) as f64 * 100.0);
                                        view! {
                                            <line x1=x.clone() x2=x.clone() y1="4" y2="20" />
                                            <text x=x y="14" dx="4">
                                                {format::duration(tick)}
                                            </text>
                                        }
                                    })
                                    .collect_view()
                            })
                    }}
                </svg>
            </div>
            <div class="wf-body">
                <div
                    class="wf-scroll"
                    node_ref=scroller
                    tabindex="0"
                    role="region"
                    aria-label="Spans"
                    on:scroll=move |_| place_rows()
                >
                    <div class="wf-sizer" node_ref=sizer>
                        <ul class="wf-rows" node_ref=block>
                            <For
                                each=move || {
                                    let (start, end) = range.get();
                                    rows.with(|rows| rows.get(start..end.min(rows.len())).unwrap_or_default().to_vec())
                                }
                                key=|row: &Row| row.clone()
                                children=move |row: Row| {
                                    let id = row.span;
                                    let span = Memo::new(move |_| model.with(|m| m.get(id).cloned()));
                                    let address = href.with_value(|href| href(id));
                                    let address = StoredValue::new(address);
                                    let depth = row.depth.min(DEEPEST);
                                    view! {
                                        <li
                                            class=move || {
                                                let chosen = if selected.get() == Some(id) { " chosen" } else { "" };
                                                let on_path = if path.with(|p| p.contains(&id)) { " on-path" } else { "" };
                                                let context = if row.context { " context" } else { "" };
                                                format!("wf-row depth-{depth}{chosen}{on_path}{context}")
                                            }
                                        >
                                            {if row.has_children {
                                                view! {
                                                    <button
                                                        type="button"
                                                        class="wf-toggle"
                                                        tabindex="-1"
                                                        aria-expanded=(!row.collapsed).to_string()
                                                        aria-label="Parts"
                                                        on:click=move |_| toggle(id)
                                                    >
                                                        {if row.collapsed { "▸" } else { "▾" }}
                                                    </button>
                                                }
                                                    .into_any()
                                            } else {
                                                view! { <span class="wf-toggle"></span> }.into_any()
                                            }}
                                            {move || {
                                                span.get()
                                                    .map(|span| {
                                                        let href = address.get_value();
                                                        view! { <RowBody span href bounds now on_choose=move || choose(id) /> }
                                                    })
                                            }}
                                        </li>
                                    }
                                }
                            />
                        </ul>
                    </div>
                </div>
                <Minimap
                    model
                    now
                    sight
                    on_go=move |share: f64| {
                        if let Some(scroller) = scroller.get_untracked() {
                            let whole = f64::from(pixels(rows.with_untracked(Vec::len)));
                            let middle = f64::from(scroller.client_height()) / 2.0;
                            #[expect(clippy::cast_possible_truncation, reason = "inside the element's height")]
                            scroller.set_scroll_top((share * whole - middle).max(0.0) as i32);
                            place_rows();
                        }
                    }
                />
            </div>
        </section>
    }
}

/// The name, the bar and the duration of a span.
#[component]
fn RowBody(
    span: Span,
    href: String,
    bounds: Memo<Option<(devenv_cloud_api::Timestamp, devenv_cloud_api::Timestamp)>>,
    now: Memo<devenv_cloud_api::Timestamp>,
    on_choose: impl Fn() + 'static,
) -> impl IntoView {
    let (start, end) = (span.started_at, span.finished_at);
    let position = Memo::new(move |_| {
        bounds.get().map_or((0.0, 0.0), |bounds| bar(bounds, start, end.unwrap_or_else(|| now.get())))
    });
    let bar_class = format!("wf-bar {} {}", kind_class(span.kind), class(span.state));
    let duration = Memo::new(move |_| {
        format::duration(match end {
            Some(end) => format::elapsed(start, Some(end), end),
            None => format::elapsed(start, None, now.get()),
        })
    });
    view! {
        <a
            class="wf-name"
            href=href
            title=span.name.clone()
            data-failure=is_bad(span.state).then_some("")
            on:click=move |event: ev::MouseEvent| {
                if !(event.ctrl_key() || event.meta_key() || event.shift_key()) {
                    event.prevent_default();
                    on_choose();
                }
            }
        >
            <StateShape state=span.state />
            <span class="clip">{span.name.clone()}</span>
            <span class="visually-hidden">", " {word(span.state)} ", " {span.kind.as_str()}</span>
        </a>
        <svg class="wf-track" width="100%" height="26" aria-hidden="true">
            <rect
                class=bar_class
                x=move || format::percent(position.get().0)
                width=move || format::percent(position.get().1)
                y="8"
                height="10"
                rx="2"
            />
        </svg>
        <span class="wf-duration">{move || duration.get()}</span>
    }
}
