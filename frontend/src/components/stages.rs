//! What a job did, in one strip: each stage's share of the time, then its
//! duration in words. And the one sentence about what it does right now.

use devenv_cloud_api::runs::{Attempt, Stage, StageSummary, State};
use leptos::prelude::*;

use crate::{
    components::state::{StateShape, class},
    context::use_now,
    format,
};

/// The class that colours a stage.
const fn stage_class(stage: Stage) -> &'static str {
    match stage {
        Stage::Queue => "stage-queue",
        Stage::Machine => "stage-machine",
        Stage::Checkout => "stage-checkout",
        Stage::Evaluate => "stage-evaluate",
        Stage::Build => "stage-build",
        Stage::Task => "stage-task",
        Stage::Outputs => "stage-outputs",
        Stage::Teardown => "stage-teardown",
    }
}

/// What the system is doing, as a sentence without its end.
fn doing(stage: &StageSummary) -> String {
    match stage.stage {
        Stage::Queue => "waiting for a machine".to_owned(),
        Stage::Machine => "starting the machine".to_owned(),
        Stage::Checkout => "delivering the source".to_owned(),
        Stage::Evaluate => "evaluating devenv.nix".to_owned(),
        Stage::Build => "building the environment".to_owned(),
        Stage::Task => format!("running {}", stage.name),
        Stage::Outputs => "collecting outputs".to_owned(),
        Stage::Teardown => "giving the machine back".to_owned(),
    }
}

/// What the attempt does now: "evaluating devenv.nix, 0.4 s". Empty when it is over.
#[component]
pub fn Progress(#[prop(into)] attempt: Signal<Option<Attempt>>) -> impl IntoView {
    let now = use_now();
    let text = Memo::new(move |_| {
        attempt.with(|attempt| {
            let attempt = attempt.as_ref()?;
            let passed = |since| format::duration(format::elapsed(since, None, now.get()));
            match attempt.state {
                State::Queued => {
                    let waits = attempt.waits.as_deref().unwrap_or("waits for a machine");
                    Some(format!("{waits} · {}", passed(attempt.queued_at)))
                }
                State::Running => {
                    Some(attempt.stages.iter().rev().find(|s| s.state == State::Running).map_or_else(
                        || format!("working, {}", passed(attempt.started_at.unwrap_or(attempt.queued_at))),
                        |stage| format!("{}, {}", doing(stage), passed(stage.started_at)),
                    ))
                }
                _ => None,
            }
        })
    });
    view! {
        <Show when=move || text.with(Option::is_some)>
            <span class="progress">{move || text.get()}</span>
        </Show>
    }
}

/// The strip. Widths are shares of the whole, at least a sliver each.
#[component]
pub fn Stages(
    #[prop(into)] stages: Signal<Vec<StageSummary>>,
    /// The job's address; each stage leads to its span there.
    #[prop(into)]
    job_href: String,
) -> impl IntoView {
    let now = use_now();
    let job_href = StoredValue::new(job_href);
    let bars = Memo::new(move |_| {
        let stages = stages.get();
        let lengths: Vec<i64> = stages
            .iter()
            .map(|s| match s.finished_at {
                Some(end) => format::elapsed(s.started_at, Some(end), end),
                None => format::elapsed(s.started_at, None, now.get()),
            })
            .collect();
        let whole = lengths.iter().sum::<i64>().max(1);
        let mut x = 0;
        stages
            .into_iter()
            .zip(lengths)
            .map(|(stage, millis)| {
                // In thousandths of the strip.
                let width = (millis * 1000 / whole).max(4);
                let bar = (x, width, millis, stage);
                x += width;
                bar
            })
            .collect::<Vec<_>>()
    });
    view! {
        <Show when=move || bars.with(|b| !b.is_empty())>
            <div class="stages">
                <svg class="stages-strip" viewBox="0 0 1000 6" preserveAspectRatio="none" height="6" aria-hidden="true">
                    {move || {
                        bars.get()
                            .into_iter()
                            .map(|(x, width, _, stage)| {
                                view! {
                                    <rect
                                        class=format!("{} {}", stage_class(stage.stage), class(stage.state))
                                        x=x.to_string()
                                        y="0"
                                        width=(width - 2).max(2).to_string()
                                        height="6"
                                    />
                                }
                            })
                            .collect_view()
                    }}
                </svg>
                <ul class="stages-list">
                    {move || {
                        bars.get()
                            .into_iter()
                            .map(|(_, _, millis, stage)| {
                                let href = job_href.with_value(|h| format!("{h}?span={}", stage.span));
                                let bad = crate::components::state::is_bad(stage.state);
                                view! {
                                    <li class=class(stage.state)>
                                        <a href=href title=crate::components::state::word(stage.state)>
                                            {if bad || stage.state == State::Running {
                                                view! { <StateShape state=stage.state /> }.into_any()
                                            } else {
                                                view! { <span class=format!("stage-dot {}", stage_class(stage.stage))></span> }
                                                    .into_any()
                                            }}
                                            <span class="stage-name">{stage.name}</span>
                                            <span class="muted elapsed">{format::duration(millis)}</span>
                                        </a>
                                    </li>
                                }
                            })
                            .collect_view()
                    }}
                </ul>
            </div>
        </Show>
    }
}
