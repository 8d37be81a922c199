//! The whole trace at a glance, and where in it the rows in sight are.

use devenv_cloud_api::{Timestamp, trace::Span};
use leptos::{ev, html, prelude::*};

use super::model::{Model, bar};
use crate::{components::state::is_bad, format};

/// The strip's height in its own units.
const HEIGHT: usize = 60;
/// At most this many bars are drawn; more would fall on the same pixels.
const MOST: usize = 240;

/// One bar of the strip.
#[derive(Clone, Debug, PartialEq)]
struct Mark {
    x: f64,
    width: f64,
    y: f64,
    bad: bool,
}

fn marks(model: &Model, now: Timestamp) -> Vec<Mark> {
    let Some(bounds) = model.bounds(now) else { return Vec::new() };
    let spans: Vec<&Span> = model.in_order().collect();
    let step = spans.len().div_ceil(MOST).max(1);
    #[expect(clippy::cast_precision_loss, reason = "numbers of rows")]
    let y_of = |i: usize| i as f64 / spans.len().max(1) as f64 * HEIGHT as f64;
    spans
        .chunks(step)
        .enumerate()
        .filter_map(|(chunk, group)| {
            // The longest stands for its group; a failure is never left out.
            let longest = group.iter().max_by_key(|s| s.finished_at.unwrap_or(now) - s.started_at)?;
            let shown = group.iter().find(|s| is_bad(s.state)).unwrap_or(longest);
            let (x, width) = bar(bounds, shown.started_at, shown.finished_at.unwrap_or(now));
            Some(Mark {
                x: x * 10.0,
                width: (width * 10.0).max(2.0),
                y: y_of(chunk * step),
                bad: is_bad(shown.state),
            })
        })
        .collect()
}

/// The strip. A click goes to that part of the trace.
#[component]
pub(super) fn Minimap(
    model: RwSignal<Model>,
    #[prop(into)] now: Signal<Timestamp>,
    /// The first and the last row in sight, as shares of all rows.
    #[prop(into)]
    sight: Signal<(f64, f64)>,
    /// Goes to a share of all rows.
    on_go: impl Fn(f64) + Clone + 'static,
) -> impl IntoView {
    let strip = NodeRef::<html::Div>::new();
    let all = Memo::new(move |_| model.with(|m| marks(m, now.get())));
    let go = move |event: &ev::MouseEvent| {
        if let Some(strip) = strip.get_untracked() {
            let rect = strip.get_bounding_client_rect();
            if rect.height() > 0.0 {
                on_go(((f64::from(event.client_y()) - rect.top()) / rect.height()).clamp(0.0, 1.0));
            }
        }
    };
    let dragged = go.clone();
    view! {
        <div
            class="minimap"
            // Where all rows are in sight, there is nowhere to go.
            hidden=move || {
                let (first, last) = sight.get();
                last - first > 0.999
            }
            node_ref=strip
            aria-hidden="true"
            on:mousedown=move |event| go(&event)
            on:mousemove=move |event| {
                if event.buttons() & 1 == 1 {
                    dragged(&event);
                }
            }
        >
            <svg viewBox=format!("0 0 1000 {HEIGHT}") preserveAspectRatio="none" width="100%" height="100%">
                <g>
                    {move || {
                        let marks = all.get();
                        #[expect(clippy::cast_precision_loss, reason = "at most MOST")]
                        let height = (HEIGHT as f64 / marks.len().max(1) as f64).clamp(0.3, 1.0);
                        marks
                            .into_iter()
                            .map(|mark| {
                                view! {
                                    <rect
                                        class=if mark.bad { "minimap-mark bad" } else { "minimap-mark" }
                                        x=format::decimal(mark.x)
                                        width=format::decimal(mark.width)
                                        y=format::decimal(mark.y)
                                        height=format::decimal(height)
                                    />
                                }
                            })
                            .collect_view()
                    }}
                </g>
                <rect
                    class="minimap-sight"
                    x="0"
                    width="1000"
                    y=move || format::decimal(sight.get().0 * 60.0)
                    height=move || format::decimal(((sight.get().1 - sight.get().0) * 60.0).max(2.0))
                />
            </svg>
        </div>
    }
}
