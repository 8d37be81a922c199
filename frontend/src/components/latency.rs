//! The promise of the product, kept or not: how long it took from the push to
//! the evaluation, and what the time went into.

use devenv_cloud_api::runs::{Attempt, Latency, MachineStart, Step};
use leptos::prelude::*;

use crate::format;

/// What a step is called, and the class that colours it.
const fn shown(step: Step) -> (&'static str, &'static str) {
    match step {
        Step::Accepted => ("accepting the push", "step-accepted"),
        Step::Queued => ("queue", "stage-queue"),
        Step::Machine => ("machine", "step-machine"),
        Step::Reseed => ("reseed", "step-reseed"),
        Step::Source => ("source", "stage-checkout"),
        Step::Evaluator => ("evaluator", "stage-evaluate"),
        Step::Evaluation => ("evaluation", ""),
        Step::Task => ("until the first task", ""),
    }
}

const fn start(start: MachineStart) -> &'static str {
    match start {
        MachineStart::Pooled => "in a machine that waited",
        MachineStart::OnDemand => "in a machine restored from a template",
        MachineStart::Cold => "in a machine that was booted",
    }
}

fn duration(millis: u64) -> String {
    format::duration(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// The same for a part, of which most are short.
fn part(millis: u64) -> String {
    if millis < 100 { format!("{millis} ms") } else { duration(millis) }
}

/// "0.21 s from push to evaluation", with its parts. Nothing until evaluation has begun.
#[component]
pub fn ToEvaluation(
    #[prop(into)] attempt: Signal<Attempt>,
    /// Whether a push made the attempt.
    pushed: bool,
) -> impl IntoView {
    let latency = Memo::new(move |_| attempt.with(|a| a.latency.clone()));
    move || {
        let Latency { start: how, push_to_evaluation_ms, steps } = *latency.get()?;
        let whole = push_to_evaluation_ms?;
        let (before, after): (Vec<_>, Vec<_>) = steps.into_iter().partition(|s| !shown(s.step).1.is_empty());
        // In thousandths of the strip; what took no time has no part of it.
        let scale = |millis: u64| millis * 1000 / whole.max(1);
        let mut x = 0;
        let bars = before
            .iter()
            .filter(|s| s.millis > 0)
            .map(|s| {
                let from = x;
                x += s.millis;
                let width = (scale(x) - scale(from)).saturating_sub(2).max(2);
                view! { <rect class=shown(s.step).1 x=scale(from).to_string() y="0" width=width.to_string() height="8" /> }
            })
            .collect_view();
        let from = if pushed { "from push to evaluation" } else { "from the queue to evaluation" };
        let after = after
            .iter()
            .map(|s| format!("{} {}", shown(s.step).0, part(s.millis)))
            .collect::<Vec<_>>()
            .join(", ");
        Some(view! {
            <section class="latency" aria-label=from>
                <p class="latency-words">
                    <strong>{duration(whole)}</strong>
                    " "
                    {from}
                    {how.map(|how| view! { <span class="muted">", " {start(how)}</span> })}
                </p>
                <svg class="stages-strip" viewBox="0 0 1000 8" preserveAspectRatio="none" height="8" aria-hidden="true">
                    {bars}
                </svg>
                <ul class="stages-list">
                    {before
                        .iter()
                        .map(|s| {
                            let (name, class) = shown(s.step);
                            view! {
                                <li>
                                    <span class=format!("stage-dot {class}")></span>
                                    {name}
                                    " "
                                    <span class="muted elapsed">{part(s.millis)}</span>
                                </li>
                            }
                        })
                        .collect_view()}
                    {(!after.is_empty()).then(|| view! { <li class="muted">"then " {after}</li> })}
                </ul>
            </section>
        })
    }
}
