//! `/{org}/{project}/runs/{number}/{job}`: one attempt's trace and log, side
//! by side. The address holds the attempt, the chosen span and the lines, so
//! that a link shows somebody else the same.
//!
//! A job that failed opens on the task to blame, with its last lines.

use std::sync::Arc;

use devenv_cloud_api::{
    ids::SpanId,
    runs::{Attempt, Run, State, Trigger},
    trace::{LiveEvent, Trace},
};
use leptos::prelude::*;
use leptos_router::{NavigateOptions, hooks::use_navigate};
use serde::{Deserialize, Serialize};

use super::{
    param, query,
    run::{Broken, Operate, to_blame},
};
use crate::{
    asked::ask,
    chart::{SpanPanel, Waterfall, model::Model},
    components::{
        annotations::Annotations,
        keys::use_key,
        latency::ToEvaluation,
        load::Load,
        log::{Begin, FIRST, Feed, Group, Groups, LogPane, Piece, fetch},
        page_head::PageHead,
        reproduce::{self, Reproduce},
        stages::Progress,
        state::{StateMark, class, is_bad},
        tabs::{Tab, Tabs},
        time::Elapsed,
    },
    context::use_api,
    failure::Failure,
    live::{self, Line, Then},
    transport::Api,
};

/// The server renders this many spans at most; the browser fetches the rest.
#[cfg(not(feature = "hydrate"))]
const FIRST_SPANS: &str = "&limit=400";
/// The browser, going from page to page, asks for all at once.
#[cfg(feature = "hydrate")]
const FIRST_SPANS: &str = "";

/// What the page needs first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct JobView {
    org: String,
    project: String,
    number: u64,
    title: String,
    can_operate: bool,
    /// Whether a push made the run.
    pushed: bool,
    job: String,
    commit: String,
    profile: Option<String>,
    attempts: Vec<(u32, State)>,
    attempt: Attempt,
    trace: Trace,
}

impl JobView {
    /// The job's path below the API's prefix.
    fn api_path(&self) -> String {
        format!("/orgs/{}/projects/{}/runs/{}/jobs/{}", self.org, self.project, self.number, self.job)
    }

    /// The job's address.
    fn href(&self) -> String {
        format!("/{}/{}/runs/{}/{}", self.org, self.project, self.number, self.job)
    }
}

async fn load(api: &Api, path: [String; 4], attempt: &str) -> Result<JobView, Failure> {
    let [org, project, number, name] = path;
    let run: Run = api.get(&format!("/orgs/{org}/projects/{project}/runs/{number}")).await?;
    let job = run.jobs.iter().find(|j| j.name == name).ok_or_else(Failure::not_found)?;
    let attempts = job.attempts.iter().map(|a| (a.number, a.state)).collect();
    let attempt = match attempt {
        "" => job.attempts.last(),
        wanted => job.attempts.iter().find(|a| a.number.to_string() == wanted),
    }
    .ok_or_else(Failure::not_found)?
    .clone();
    let view = JobView {
        org,
        project,
        number: run.summary.number,
        title: run.summary.commit.title.clone(),
        can_operate: run.can_operate,
        pushed: run.summary.trigger == Trigger::Push,
        commit: run.summary.commit.sha.clone(),
        profile: job.profile.clone(),
        job: name,
        attempts,
        trace: Trace { spans: Vec::new(), total: 0, seq: 0 },
        attempt,
    };
    let trace = read_trace(api, &view.api_path(), view.attempt.number, FIRST_SPANS).await?;
    Ok(JobView { trace, ..view })
}

async fn read_trace(api: &Api, job: &str, attempt: u32, limit: &str) -> Result<Trace, Failure> {
    Ok(api.get(&format!("{job}/trace?attempt={attempt}{limit}")).await?)
}

/// The job's page.
#[component]
pub fn JobPage() -> impl IntoView {
    let api = use_api();
    let (org, project, number, job) = (param("org"), param("project"), param("number"), param("job"));
    let attempt = query("attempt");
    let asked = ask(move || {
        let api = api.clone();
        let path = [org.get(), project.get(), number.get(), job.get()];
        let attempt = attempt.get();
        async move { load(&api, path, &attempt).await }
    });
    view! {
        <Load
            asked
            what="the job"
            view=move |view: JobView| view! { <Ready view reload=move || asked.refetch() /> }.into_any()
        />
    }
}

/// What of the job is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    All,
    Span(SpanId),
}

#[component]
fn Ready(view: JobView, reload: impl Fn() + Clone + Send + Sync + 'static) -> impl IntoView {
    let mut view = view;
    let api = use_api();
    let navigate = use_navigate();
    let (api_path, base) = (view.api_path(), view.href());
    let number = view.attempt.number;
    let attempts = RwSignal::new(view.attempts.clone());
    let newest = move || attempts.with(|all| all.last().map(|(n, _)| *n));
    let total = usize::try_from(view.trace.total).unwrap_or(usize::MAX);
    let cut = view.trace.total > view.trace.spans.len() as u64;
    let seq = view.trace.seq;
    let model = RwSignal::new(Model::new(std::mem::take(&mut view.trace.spans)));
    let attempt = RwSignal::new(view.attempt.clone());
    let state = Memo::new(move |_| attempt.with(|a| a.state));
    let live = Signal::derive(move || !state.get().is_final());
    let line = RwSignal::new(Line::Off);
    let feed = Feed::default();

    // The chosen span: the address says it; else the one to blame.
    let blamed = to_blame(&view.attempt).filter(|_| view.attempt.state.is_final()).map(|s| s.span);
    let (span, show) = (query("span"), query("view"));
    let chosen = Memo::new(move |_| match span.get().as_str() {
        "all" => Chosen::All,
        text => text.parse().ok().or(blamed).map_or(Chosen::All, Chosen::Span),
    });
    let selected = Signal::derive(move || match chosen.get() {
        Chosen::Span(id) => Some(id),
        Chosen::All => None,
    });

    // The rest of a long trace, once the page is alive.
    let (rest_api, rest_path) = (api.clone(), api_path.clone());
    Effect::new(move |_| {
        if cut {
            let (api, path) = (rest_api.clone(), rest_path.clone());
            leptos::task::spawn_local(async move {
                if let Ok(trace) = read_trace(&api, &path, number, "").await {
                    let _ = model.try_update(|m| m.merge(trace.spans));
                }
            });
        }
    });
    // The end tells what the events did not: what it closed, and whether there
    // is a new attempt. The page stays as it is: somebody reads it.
    let (end_api, end_of) =
        (api.clone(), [view.org.clone(), view.project.clone(), view.number.to_string(), view.job.clone()]);
    let at_end = move || {
        let (api, path) = (end_api.clone(), end_of.clone());
        leptos::task::spawn_local(async move {
            if let Ok(ended) = load(&api, path, &number.to_string()).await {
                let _ = attempts.try_set(ended.attempts);
                let _ = attempt.try_set(ended.attempt);
                let _ = model.try_update(|m| m.merge(ended.trace.spans));
            }
        });
    };
    let events = api_path.clone();
    Effect::new(move |_| {
        if state.get_untracked().is_final() {
            return;
        }
        let (events, at_end) = (events.clone(), at_end.clone());
        live::follow(
            line,
            move |last| {
                let after = last.map_or_else(|| seq.to_string(), ToOwned::to_owned);
                format!("{}{events}/events?attempt={number}&after={after}", devenv_cloud_api::PREFIX)
            },
            move |event: LiveEvent| match event {
                LiveEvent::Spans { spans } => {
                    let _ = model.try_update(|m| m.merge(spans));
                    Then::GoOn
                }
                LiveEvent::Lines { lines } => {
                    feed.send(&lines);
                    Then::GoOn
                }
                LiveEvent::Attempt { attempt: newer } => {
                    let _ = attempt.try_set(newer);
                    Then::GoOn
                }
                LiveEvent::End => {
                    at_end();
                    Then::Stop
                }
            },
        );
    });

    let address = Arc::new({
        let base = base.clone();
        move |span: Option<SpanId>, view: &str| {
            let mut parts = Vec::new();
            if Some(number) != newest() {
                parts.push(format!("attempt={number}"));
            }
            match span {
                Some(span) => parts.push(format!("span={span}")),
                None if blamed.is_some() => parts.push("span=all".to_owned()),
                None => {}
            }
            if !view.is_empty() {
                parts.push(format!("view={view}"));
            }
            if parts.is_empty() { base.clone() } else { format!("{base}?{}", parts.join("&")) }
        }
    });
    let to_span = {
        let address = Arc::clone(&address);
        move |span: SpanId| address(Some(span), &show.get_untracked())
    };
    let whole_log = address(None, &show.get_untracked());
    let group_href = to_span.clone();
    let groups = Groups {
        of: Arc::new(move |span| {
            model.with(|m| {
                let span = m.group_of(span)?;
                Some(Group { span: span.id, name: span.name.clone(), href: group_href(span.id) })
            })
        }),
        many: Memo::new(move |_| model.with(Model::has_groups)).into(),
    };
    let select = {
        let (to_span, navigate) = (to_span.clone(), navigate.clone());
        move |span: SpanId| {
            let options = NavigateOptions { scroll: false, replace: true, ..Default::default() };
            navigate(&to_span(span), options);
        }
    };
    let views = {
        let address = Arc::clone(&address);
        move || {
            let current = show.get();
            [("", "Trace and log"), ("trace", "Trace"), ("log", "Log")]
                .into_iter()
                .map(|(word, label)| Tab {
                    label,
                    href: address(selected.get(), word),
                    current: current == word,
                })
                .collect::<Vec<_>>()
        }
    };
    use_key("l", "to the log", || {
        crate::components::keys::step_focus(".log-scroll", true);
    });
    let run_href = format!("/{}/{}/runs/{}", view.org, view.project, view.number);
    use_key("u", "up to the run", move || navigate(&run_href, NavigateOptions::default()));

    let annotations = Memo::new(move |_| attempt.with(|a| a.annotations.clone()));
    let reason = Memo::new(move |_| attempt.with(|a| a.reason.clone()));
    let operate_path = api_path.clone();
    let (commit, profile) = (view.commit.clone(), view.profile.clone());
    let again = Signal::derive(move || attempt.with(|a| reproduce::command(&commit, profile.as_deref(), a)));
    let title = format!("{} · {}", view.job, view.title);

    view! {
        <PageHead title=view.job.clone() window_title=format!("{title} · run {} · {}/{}", view.number, view.org, view.project) about=view.title.clone()>
            {view.can_operate.then(|| view! { <Operate path=operate_path state reload /> })}
        </PageHead>
        <div class="facts">
            <StateMark state />
            <Progress attempt=Signal::derive(move || Some(attempt.get())) />
            <Elapsed
                start=Signal::derive(move || attempt.with(|a| a.started_at))
                end=Signal::derive(move || attempt.with(|a| a.finished_at))
            />
            {move || {
                attempt
                    .with(|a| a.exit_status)
                    .filter(|status| *status != 0)
                    .map(|status| view! { <span class="muted">"exit status " {status}</span> })
            }}
            {move || {
                attempt
                    .with(|a| a.runner.clone())
                    .map(|runner| view! { <span class="muted clip">"on " {runner}</span> })
            }}
            <Attempts attempts current=number base=base.clone() />
            <Broken line />
        </div>
        {move || {
            reason.get().map(|reason| view! { <p class=format!("notice {}", class(state.get()))>{reason}</p> })
        }}
        <Annotations annotations job_href=base />
        <ToEvaluation attempt pushed=view.pushed && number == 1 />
        <Reproduce command=again />
        {move || view! { <Tabs label="View" tabs=views() /> }}
        <div class=move || format!("panes show-{}", Some(show.get()).filter(|s| !s.is_empty()).unwrap_or_else(|| "both".to_owned()))>
            <div class="pane pane-trace">
                <Waterfall model total selected href=to_span on_select=select />
            </div>
            <div class="pane pane-log">
                <LogOf model api_path number chosen state live feed whole_log groups />
            </div>
        </div>
    }
}

/// The attempts there were, if there was more than one.
#[component]
fn Attempts(attempts: RwSignal<Vec<(u32, State)>>, current: u32, base: String) -> impl IntoView {
    move || {
        let all = attempts.get();
        let base = base.clone();
        (all.len() > 1).then(|| {
            view! {
                <nav class="attempts" aria-label="Attempts">
                    {all
                        .into_iter()
                        .map(|(number, state)| {
                            view! {
                                <a
                                    class="badge"
                                    href=format!("{base}?attempt={number}")
                                    aria-current=(number == current).then_some("page")
                                >
                                    <StateMark state quiet=true />
                                    "attempt "
                                    {number}
                                </a>
                            }
                        })
                        .collect_view()}
                </nav>
            }
        })
    }
}

/// The log of what is chosen.
#[component]
fn LogOf(
    model: RwSignal<Model>,
    api_path: String,
    number: u32,
    chosen: Memo<Chosen>,
    state: Memo<State>,
    live: Signal<bool>,
    feed: Feed,
    whole_log: String,
    groups: Groups,
) -> impl IntoView {
    let api = use_api();
    let from = query("from");
    let path = StoredValue::new(api_path.clone());
    let asked = ask::<Piece, _>(move || {
        let (api, path, chosen, from) = (api.clone(), path.get_value(), chosen.get(), from.get());
        // What is over and went well is read from its beginning; all else from its end.
        let ended_well = match chosen {
            Chosen::All => state.with_untracked(|s| s.is_final() && !is_bad(*s)),
            Chosen::Span(id) => {
                model.with_untracked(|m| m.get(id).is_some_and(|s| s.state.is_final() && !is_bad(s.state)))
            }
        };
        let begin = match from.parse::<usize>() {
            Ok(line) => Begin::At(line.saturating_sub(1)),
            Err(_) if ended_well => Begin::At(0),
            Err(_) => Begin::Tail,
        };
        let span = match chosen {
            Chosen::All => None,
            Chosen::Span(id) => Some(id),
        };
        async move { Ok(fetch(&api, &path, number, span, begin, FIRST).await?) }
    });
    let whole_log = StoredValue::new(whole_log);
    view! {
        {move || match chosen.get() {
            Chosen::Span(span) => view! { <SpanPanel model span close=whole_log.get_value() /> }.into_any(),
            Chosen::All => ().into_any(),
        }}
        <Load
            asked
            what="the log"
            view=move |piece: Piece| {
                let span = match chosen.get_untracked() {
                    Chosen::All => None,
                    Chosen::Span(id) => Some(id),
                };
                let groups = span.is_none().then(|| groups.clone());
                view! { <LogPane job=path.get_value() attempt=number span piece live feed groups /> }.into_any()
            }
        />
    }
}
