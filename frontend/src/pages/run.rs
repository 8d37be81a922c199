//! `/{org}/{project}/runs/{number}`: the run's jobs. What failed comes first:
//! errors with their places, then the last lines of the task that failed.

use devenv_cloud_api::{
    ids::SpanId,
    runs::{Annotation, Attempt, Job, Run, Stage, StageSummary, State},
    trace::{LogWindow, RunEvent},
};
use leptos::prelude::*;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::param;
use crate::{
    asked::ask,
    components::{
        annotations::Annotations,
        code::Copyable,
        form::{Outcome, Submit},
        keys::use_key,
        load::Load,
        log::Excerpt,
        page_head::PageHead,
        reproduce::{self, Reproduce},
        stages::{Progress, Stages},
        state::{StateMark, is_bad},
        time::{Ago, Elapsed},
    },
    context::{use_alive, use_api},
    failure::Failure,
    format,
    live::{self, Line, Then},
    transport::Api,
};

/// How many failing jobs show their last lines at once.
const EXCERPTS: usize = 2;
/// How many lines they show.
const LINES: u32 = 25;

/// The last lines of something that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Failing {
    job: String,
    span: SpanId,
    name: String,
    state: State,
    window: LogWindow,
}

/// A run and what to see of it at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RunView {
    run: Run,
    failing: Vec<Failing>,
}

/// The stage or task to blame: a failing task if there is one, else the failing stage.
#[must_use]
pub(super) fn to_blame(attempt: &Attempt) -> Option<&StageSummary> {
    let bad = || attempt.stages.iter().filter(|s| is_bad(s.state));
    bad().find(|s| s.stage == Stage::Task).or_else(|| bad().next())
}

async fn load(api: &Api, org: &str, project: &str, number: &str) -> Result<RunView, Failure> {
    let path = format!("/orgs/{org}/projects/{project}/runs/{number}");
    let run: Run = api.get(&path).await?;
    let mut failing = Vec::new();
    for job in run.jobs.iter().filter(|j| is_bad(j.state)).take(EXCERPTS) {
        let Some(attempt) = job.attempts.last() else { continue };
        let Some(stage) = to_blame(attempt) else { continue };
        let log = format!(
            "{path}/jobs/{}/log?attempt={}&span={}&tail={LINES}",
            job.name, attempt.number, stage.span
        );
        // Without its log a failure is still worth showing, and what wrote nothing has none.
        let Ok(window) = api.get::<LogWindow>(&log).await else { continue };
        if window.lines.is_empty() {
            continue;
        }
        failing.push(Failing {
            job: job.name.clone(),
            span: stage.span,
            name: stage.name.clone(),
            state: stage.state,
            window,
        });
    }
    Ok(RunView { run, failing })
}

/// The run's page.
#[component]
pub fn RunPage() -> impl IntoView {
    let api = use_api();
    let (org, project, number) = (param("org"), param("project"), param("number"));
    let asked = ask(move || {
        let api = api.clone();
        let (org, project, number) = (org.get(), project.get(), number.get());
        async move { load(&api, &org, &project, &number).await }
    });
    view! {
        <Load
            asked
            what="the run"
            view=move |view: RunView| view! { <Ready view reload=move || asked.refetch() /> }.into_any()
        />
    }
}

#[component]
fn Ready(view: RunView, reload: impl Fn() + Clone + Send + Sync + 'static) -> impl IntoView {
    let RunView { run, failing } = view;
    let base = format!("/{}/{}/runs/{}", run.org, run.project, run.summary.number);
    let api_path = format!("/orgs/{}/projects/{}/runs/{}", run.org, run.project, run.summary.number);
    let commit = run.summary.commit.clone();
    let title =
        if commit.title.is_empty() { format!("Run {}", run.summary.number) } else { commit.title.clone() };
    let window_title = format!("{title} · run {} · {}/{}", run.summary.number, run.org, run.project);
    let branch_href =
        format!("/{}/{}?branch={}", run.org, run.project, format::query_value(commit.short_ref()));
    let summary = run.summary.clone();
    let can_operate = run.can_operate;
    let run = RwSignal::new(run);
    let state = Memo::new(move |_| run.with(|r| r.summary.state));
    let reason = Memo::new(move |_| run.with(|r| r.summary.reason.clone()));
    let line = RwSignal::new(Line::Off);

    // Follows what moves. Its end brings the last lines of what failed.
    let (path, at_end) = (api_path.clone(), reload.clone());
    Effect::new(move |_| {
        if state.get_untracked().is_final() {
            return;
        }
        let (path, at_end) = (path.clone(), at_end.clone());
        live::follow(
            line,
            move |_| format!("{}{path}/events", devenv_cloud_api::PREFIX),
            move |event: RunEvent| match event {
                RunEvent::Run { run: newer } => {
                    let _ = run.try_set(*newer);
                    Then::GoOn
                }
                RunEvent::End => {
                    at_end();
                    Then::Stop
                }
            },
        );
    });

    let names = Memo::new(move |_| {
        run.with(|r| {
            // Failures first, else as they come.
            let (mut jobs, good): (Vec<_>, Vec<_>) = r.jobs.iter().partition(|j| is_bad(j.state));
            jobs.extend(good);
            jobs.into_iter().map(|j| j.name.clone()).collect::<Vec<_>>()
        })
    });
    let annotated = Memo::new(move |_| {
        run.with(|r| {
            r.jobs
                .iter()
                .filter_map(|j| j.attempts.last().map(|a| (j.name.clone(), a.annotations.clone())))
                .filter(|(_, annotations)| !annotations.is_empty())
                .collect::<Vec<_>>()
        })
    });
    let again = Signal::derive(move || {
        run.with(|r| {
            let sha = &r.summary.commit.sha;
            let line = |j: &Job| reproduce::command(sha, j.profile.as_deref(), j.attempts.last()?);
            let lines: Vec<_> = r.jobs.iter().filter_map(line).collect();
            (!lines.is_empty()).then(|| lines.join("\n"))
        })
    });
    let excerpt_base = base.clone();
    let annotation_base = base.clone();
    let jobs_base = StoredValue::new(base);

    view! {
        <PageHead title window_title>
            {can_operate.then(|| view! { <Operate path=api_path.clone() state reload=reload.clone() /> })}
        </PageHead>
        <div class="facts">
            <StateMark state />
            <span class="muted">"#" {summary.number}</span>
            <a class="ref" href=branch_href title="Runs of this branch">
                {commit.short_ref().to_owned()}
            </a>
            <Copyable short=commit.short_sha() full=commit.sha.clone() what="the commit" />
            <span class="clip" title=commit.author_email.clone()>
                {commit.author.clone()}
            </span>
            <span class="muted">{summary.trigger.as_str()} " by " {summary.triggered_by.clone()}</span>
            <span class="muted">
                <Ago time=summary.created_at />
            </span>
            <Elapsed
                start=Signal::derive(move || run.with(|r| r.summary.started_at))
                end=Signal::derive(move || run.with(|r| r.summary.finished_at))
            />
            <Broken line />
        </div>
        {move || reason.get().map(|reason| view! { <p class=format!("notice {}", crate::components::state::class(state.get()))>{reason}</p> })}
        {move || {
            let base = annotation_base.clone();
            annotated
                .get()
                .into_iter()
                .map(|(job, annotations): (String, Vec<Annotation>)| {
                    view! { <Annotations annotations=Signal::stored(annotations) job_href=format!("{base}/{job}") /> }
                })
                .collect_view()
        }}
        {failing
            .into_iter()
            .map(|f| {
                view! {
                    <Excerpt
                        title=format!("{} · {}", f.job, f.name)
                        state=f.state
                        href=format!("{excerpt_base}/{}?span={}", f.job, f.span)
                        window=f.window
                    />
                }
            })
            .collect_view()}
        <Reproduce command=again />
        <section aria-labelledby="jobs-title">
            <h2 id="jobs-title">"Jobs"</h2>
            <Show
                when=move || names.with(|n| !n.is_empty())
                fallback=|| view! { <p class="muted">"This run has no jobs."</p> }
            >
                <ol class="jobs">
                    <For
                        each=move || names.get()
                        key=String::clone
                        children=move |name| {
                            let href = jobs_base.with_value(|base| format!("{base}/{name}"));
                            let job = Memo::new(move |_| run.with(|r| r.jobs.iter().find(|j| j.name == name).cloned()));
                            view! { <JobCard job href /> }
                        }
                    />
                </ol>
            </Show>
        </section>
    }
}

/// A word while the live stream is broken.
#[component]
pub(super) fn Broken(#[prop(into)] line: Signal<Line>) -> impl IntoView {
    view! {
        <Show when=move || line.get() == Line::Lost>
            <span class="badge is-timeout" role="status">
                "connection lost, trying again"
            </span>
        </Show>
    }
}

/// Retry and cancel, for a run or a job.
#[component]
pub(super) fn Operate(
    /// What to operate, below the API's prefix.
    path: String,
    #[prop(into)] state: Signal<State>,
    /// Called after it was done.
    #[prop(into)]
    reload: Callback<()>,
) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let submit = Submit::new();
    let act = move |word: &'static str| {
        let (api, path) = (api.clone(), format!("{path}/{word}"));
        submit.send(async move { api.post::<_, IgnoredAny>(&path, &()).await }, move |_| reload.run(()));
    };
    let act = StoredValue::new(act);
    let retry = move || {
        if state.get_untracked().is_final() {
            act.with_value(|act| act("retry"));
        }
    };
    use_key("r", "retry", retry);
    view! {
        <div class="operate">
            <Show
                when=move || state.get().is_final()
                fallback=move || {
                    view! {
                        <button
                            type="button"
                            class="button"
                            disabled=move || !alive.get() || submit.pending().get()
                            on:click=move |_| act.with_value(|act| act("cancel"))
                        >
                            "Cancel"
                        </button>
                    }
                }
            >
                <button
                    type="button"
                    class="button"
                    disabled=move || !alive.get() || submit.pending().get()
                    on:click=move |_| retry()
                >
                    "Retry"
                </button>
            </Show>
            <Outcome of=submit />
        </div>
    }
}

/// A job of the run.
#[component]
fn JobCard(job: Memo<Option<Job>>, href: String) -> impl IntoView {
    let attempt = Memo::new(move |_| job.with(|j| j.as_ref().and_then(|j| j.attempts.last().cloned())));
    let state = Memo::new(move |_| job.with(|j| j.as_ref().map_or(State::Queued, |j| j.state)));
    let stages =
        Memo::new(move |_| attempt.with(|a| a.as_ref().map(|a| a.stages.clone()).unwrap_or_default()));
    let name = job.with_untracked(|j| j.as_ref().map(|j| j.name.clone()).unwrap_or_default());
    let reason = Memo::new(move |_| attempt.with(|a| a.as_ref().and_then(|a| a.reason.clone())));
    view! {
        <li class="job-card">
            <div class="job-card-head">
                <StateMark state />
                <a
                    class="row-link"
                    href=href.clone()
                    data-row=""
                    data-failure=move || is_bad(state.get()).then_some("")
                >
                    <span class="row-title">{name}</span>
                </a>
                <Progress attempt />
                {move || {
                    job.with(|j| j.as_ref().map_or(0, |j| j.attempts.len()))
                        .checked_sub(1)
                        .filter(|n| *n > 0)
                        .map(|n| view! { <span class="badge">{format::plural(n, "retry", "retries")}</span> })
                }}
                <span class="muted row-end">
                    <Elapsed
                        start=Signal::derive(move || attempt.with(|a| a.as_ref().and_then(|a| a.started_at)))
                        end=Signal::derive(move || attempt.with(|a| a.as_ref().and_then(|a| a.finished_at)))
                    />
                </span>
            </div>
            {move || reason.get().map(|reason| view! { <p class="job-card-reason muted">{reason}</p> })}
            <Stages stages job_href=href />
        </li>
    }
}
