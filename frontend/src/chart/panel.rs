//! One span beside the trace: what it was, and its attributes.

use devenv_cloud_api::{ids::SpanId, trace::Span};
use leptos::prelude::*;

use super::model::Model;
use crate::{
    components::{state::StateMark, time::Elapsed},
    format,
};

/// The head of the panel: the span's name, state, times and attributes.
#[component]
pub fn SpanPanel(
    model: RwSignal<Model>,
    span: SpanId,
    /// Where the reader gets rid of the choice.
    #[prop(into)]
    close: String,
) -> impl IntoView {
    let span = Memo::new(move |_| model.with(|m| m.get(span).cloned()));
    let close = StoredValue::new(close);
    view! {
        {move || span.get().map(|span| view! { <Panel span close=close.get_value() /> })}
    }
}

#[component]
fn Panel(span: Span, close: String) -> impl IntoView {
    let attributes = span.attributes.clone();
    view! {
        <div class="span-panel">
            <div class="span-panel-head">
                <h2 title=span.name.clone()>{span.name.clone()}</h2>
                <a class="button small" href=close>
                    "Whole log"
                </a>
            </div>
            <p class="span-panel-facts muted">
                <StateMark state=span.state />
                <span>{span.kind.as_str()}</span>
                <Elapsed start=Some(span.started_at) end=span.finished_at />
                <time datetime=format::machine(span.started_at) title="when it began">
                    {format::exact(span.started_at)}
                </time>
            </p>
            {(!attributes.is_empty())
                .then(|| {
                    view! {
                        <details class="attributes">
                            <summary>{format::plural(attributes.len(), "attribute", "attributes")}</summary>
                            <dl>
                                {attributes
                                    .into_iter()
                                    .map(|(name, value)| {
                                        view! {
                                            <div>
                                                <dt>{name}</dt>
                                                <dd>{value}</dd>
                                            </div>
                                        }
                                    })
                                    .collect_view()}
                            </dl>
                        </details>
                    }
                })}
        </div>
    }
}
