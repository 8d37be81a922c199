//! `/{org}/-/runners`: the machines that execute the organisation's jobs, what
//! they do now, and how to add one.

use devenv_cloud_api::{
    ids::RunnerId,
    orgs::Org,
    page::Page,
    permissions::Action,
    runners::{
        CreateRunnerToken, NewRunnerToken, Runner, RunnerJob, RunnerRoom, RunnerScope, RunnerState,
        RunnerTemplate, UpdateRunner,
    },
};
use leptos::prelude::*;

use super::{org::tabs, param};
use crate::{
    asked::ask,
    browser,
    components::{
        code::Code,
        form::{ApiForm, Choice, Outcome, Submit},
        load::{Empty, Load},
        page_head::PageHead,
        tabs::Tabs,
        time::Ago,
    },
    context::{use_alive, use_api},
};

/// How often the list is read again, in seconds.
const EVERY: u64 = 5;

/// The runners' page.
#[component]
pub fn Runners() -> impl IntoView {
    let api = use_api();
    let slug = param("org");
    let asked = ask(move || {
        let (api, slug) = (api.clone(), slug.get());
        async move {
            let org: Org = api.get(&format!("/orgs/{slug}")).await?;
            let runners: Page<Runner> = api.get(&format!("/orgs/{slug}/runners?limit=100")).await?;
            Ok((org, runners))
        }
    });
    view! {
        <Load
            asked
            what="the runners"
            view=|(org, runners): (Org, Page<Runner>)| view! { <Listed org runners=runners.items /> }.into_any()
        />
    }
}

/// The page with an answer, which it keeps up to date by itself.
#[component]
fn Listed(org: Org, runners: Vec<Runner>) -> impl IntoView {
    let api = use_api();
    let tabs = tabs(&org, "runners");
    let may_manage = org.allowed.contains(&Action::ManageRunners);
    let path = format!("/orgs/{}/runners", org.slug);
    let runners = RwSignal::new(runners);
    let reload = {
        let (api, path) = (api.clone(), path.clone());
        move || {
            let (api, path) = (api.clone(), format!("{path}?limit=100"));
            leptos::task::spawn_local(async move {
                // What is shown stays when the server cannot be reached for a moment.
                if let Ok(page) = api.get::<Page<Runner>>(&path).await {
                    let _ = runners.try_set(page.items);
                }
            });
        }
    };
    browser::every(EVERY, reload.clone());
    let none = Memo::new(move |_| runners.with(Vec::is_empty));
    let ids = Memo::new(move |_| runners.with(|all| all.iter().map(|r| r.id).collect::<Vec<_>>()));
    let (token_path, add) = (format!("/orgs/{}/runner-tokens", org.slug), may_manage);
    view! {
        <PageHead title=org.display_name.clone() window_title=format!("Runners of {}", org.display_name) />
        <Tabs label="Organisation" tabs />
        {move || {
            none.get()
                .then(|| {
                    view! {
                        <Empty title="No runners yet">
                            <p>
                                "A runner is a machine of yours that executes jobs for this server: it needs nothing but a way out to the network. "
                                {if may_manage {
                                    "Add the first one: create the command here, and run it there."
                                } else {
                                    "An admin of this organisation can add one."
                                }}
                            </p>
                        </Empty>
                    }
                })
        }}
        <ul class="rows" aria-label="Runners" hidden=move || none.get()>
            <For
                each=move || ids.get()
                key=|id| *id
                children=move |id| {
                    let runner = Memo::new(move |_| runners.with(|all| all.iter().find(|r| r.id == id).cloned()));
                    let path = format!("{path}/{id}");
                    view! { <RunnerRow id runner path reload=reload.clone() /> }
                }
            />
        </ul>
        {add.then(|| view! { <AddRunner path=token_path /> })}
    }
}

/// The word for a runner's state.
const fn word(state: RunnerState) -> &'static str {
    match state {
        RunnerState::Online => "online",
        RunnerState::Draining => "draining",
        RunnerState::Offline => "offline",
    }
}

/// A runner's state: shape, colour and word.
#[component]
fn RunnerMark(#[prop(into)] state: Signal<RunnerState>) -> impl IntoView {
    let class = move || match state.get() {
        RunnerState::Online => "state is-success",
        RunnerState::Draining => "state is-queued",
        RunnerState::Offline => "state is-cancellation",
    };
    // A disc, half a disc in a ring, an empty ring.
    let shape = move || match state.get() {
        RunnerState::Online => "M8 2.4a5.6 5.6 0 1 0 0 11.2A5.6 5.6 0 0 0 8 2.4Z",
        RunnerState::Draining => {
            "M8 1.6a6.4 6.4 0 1 0 0 12.8A6.4 6.4 0 0 0 8 1.6Zm0 1.5a4.9 4.9 0 0 1 0 9.8V3.1Z"
        }
        RunnerState::Offline => {
            "M8 1.6a6.4 6.4 0 1 0 0 12.8A6.4 6.4 0 0 0 8 1.6Zm0 1.6a4.8 4.8 0 1 1 0 9.6 4.8 4.8 0 0 1 0-9.6Z"
        }
    };
    view! {
        <span class=class>
            <svg class="runner-shape" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
                <path d=shape fill="currentColor" fill-rule="evenodd" />
            </svg>
            <span class="state-word">{move || word(state.get())}</span>
        </span>
    }
}

#[component]
fn RunnerRow(
    id: RunnerId,
    runner: Memo<Option<Runner>>,
    /// Where it is changed.
    path: String,
    reload: impl Fn() + Clone + Send + Sync + 'static,
) -> impl IntoView {
    let name = Memo::new(move |_| runner.with(|r| r.as_ref().map(|r| r.name.clone()).unwrap_or_default()));
    let state = Memo::new(move |_| runner.with(|r| r.as_ref().map_or(RunnerState::Offline, |r| r.state)));
    let seen = Memo::new(move |_| runner.with(|r| r.as_ref().map(|r| r.last_seen_at)));
    let jobs = Memo::new(move |_| runner.with(|r| r.as_ref().map(|r| r.jobs.clone()).unwrap_or_default()));
    let error = Memo::new(move |_| {
        runner.with(|r| r.as_ref().and_then(|r| r.last_error.clone().zip(r.last_error_at)))
    });
    let templates = Memo::new(move |_| {
        runner.with(|r| r.as_ref().map(|r| r.ready.templates.clone()).unwrap_or_default())
    });
    let problem = Memo::new(move |_| runner.with(|r| r.as_ref().and_then(|r| r.ready.problem.clone())));
    let can_manage = Memo::new(move |_| runner.with(|r| r.as_ref().is_some_and(|r| r.can_manage)));
    let about = Memo::new(move |_| runner.with(|r| r.as_ref().map(describe).unwrap_or_default()));
    view! {
        <li class="row runner-row">
            <RunnerMark state />
            <span class="runner-row-words">
                <span class="row-title clip">{move || name.get()}</span>
                <span class="muted runner-row-about">{move || about.get()}</span>
                {move || templates.get().into_iter().map(|template| view! { <Template template /> }).collect_view()}
                {move || problem.get().map(|why| view! { <span class="runner-row-error">{why}</span> })}
                {move || {
                    error
                        .get()
                        .map(|(why, time)| {
                            view! {
                                <span class="runner-row-error">
                                    "Last error " <Ago time /> ": " {why}
                                </span>
                            }
                        })
                }}
            </span>
            <span class="runner-row-jobs">
                {move || {
                    let jobs = jobs.get();
                    if jobs.is_empty() {
                        view! {
                            <span class="muted">
                                {match state.get() {
                                    RunnerState::Online => view! { "waiting for work" }.into_any(),
                                    RunnerState::Draining => view! { "takes nothing new" }.into_any(),
                                    RunnerState::Offline => {
                                        seen.get().map(|time| view! { "seen " <Ago time /> }).into_any()
                                    }
                                }}
                            </span>
                        }
                            .into_any()
                    } else {
                        jobs.into_iter().map(|job| view! { <JobLink job /> }).collect_view().into_any()
                    }
                }}
            </span>
            {move || {
                can_manage
                    .get()
                    .then(|| {
                        view! { <Manage id name state jobs path=path.clone() reload=reload.clone() /> }
                    })
            }}
        </li>
    }
}

/// One line about a runner.
fn describe(runner: &Runner) -> String {
    let busy = runner.jobs.len();
    let mut parts = vec![
        format!("{busy} of {} {}", runner.slots, if runner.slots == 1 { "slot" } else { "slots" }),
        runner.platforms.join(", "),
        format!("version {}", runner.version),
    ];
    if !runner.labels.is_empty() {
        parts.insert(1, runner.labels.join(", "));
    }
    if let Some(RunnerRoom { memory_mib, memory_used_mib, cpus, cpus_used }) = runner.room {
        let room = format!("{memory_used_mib} of {memory_mib} MiB, {cpus_used} of {cpus} cpus in use");
        parts.insert(1, room);
    }
    if runner.embedded {
        parts.push("the server itself".to_owned());
    }
    if runner.scope == RunnerScope::Instance {
        parts.push("shared by the whole instance".to_owned());
    }
    parts.join(" · ")
}

/// What stands ready for machines of one size.
#[component]
fn Template(template: RunnerTemplate) -> impl IntoView {
    let RunnerTemplate { cpus, memory_mib, disk_mib, holds_mib, made_at, waiting } = template;
    view! {
        <span class="muted runner-row-about">
            {format!("Machines with {cpus} cpus, {memory_mib} MiB, disk {disk_mib} MiB: {waiting} waiting, ")}
            {match (holds_mib, made_at) {
                (Some(holds), Some(time)) => {
                    view! { {format!("template holds {holds} MiB, made ")} <Ago time /> }.into_any()
                }
                _ => "no template yet".into_any(),
            }}
        </span>
    }
}

#[component]
fn JobLink(job: RunnerJob) -> impl IntoView {
    let RunnerJob { org, project, run, job, started_at } = job;
    view! {
        <span class="runner-job">
            <a href=format!("/{org}/{project}/runs/{run}/{job}")>{format!("{project} #{run} {job}")}</a>
            " "
            <span class="muted">
                <Ago time=started_at />
            </span>
        </span>
    }
}

/// Draining, and revoking after a second thought.
#[component]
fn Manage(
    id: RunnerId,
    name: Memo<String>,
    state: Memo<RunnerState>,
    jobs: Memo<Vec<RunnerJob>>,
    path: String,
    reload: impl Fn() + Clone + Send + Sync + 'static,
) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let submit = Submit::new();
    let sure = RwSignal::new(false);
    let idle = move || !alive.get() || submit.pending().get();
    let drains = move || state.get() == RunnerState::Draining;
    let drain = {
        let (api, path, reload) = (api.clone(), path.clone(), reload.clone());
        move |_| {
            let body = UpdateRunner { draining: Some(state.get_untracked() != RunnerState::Draining) };
            let (api, path, reload) = (api.clone(), path.clone(), reload.clone());
            submit.send(async move { api.patch::<_, ()>(&path, &body).await }, move |()| reload());
        }
    };
    let revoke = move |_| {
        let (api, path, reload) = (api.clone(), path.clone(), reload.clone());
        submit.send(async move { api.delete(&path).await }, move |()| reload());
    };
    let question = format!("revoke-{id}");
    view! {
        <span class="row-actions">
            <button
                type="button"
                class="button small"
                aria-label=move || format!("{} {}", if drains() { "Resume" } else { "Drain" }, name.get())
                disabled=idle
                on:click=drain
            >
                {move || if drains() { "Resume" } else { "Drain" }}
            </button>
            <button
                type="button"
                class="button small"
                aria-label=move || format!("Revoke {}", name.get())
                aria-expanded=move || if sure.get() { "true" } else { "false" }
                aria-controls=question.clone()
                disabled=idle
                on:click=move |_| sure.update(|sure| *sure = !*sure)
            >
                "Revoke"
            </button>
        </span>
        <div class="row-question" id=question hidden=move || !sure.get()>
            <p>
                {move || {
                    let count = jobs.with(Vec::len);
                    let what = match count {
                        0 => "It runs nothing now.".to_owned(),
                        1 => "The job that it runs ends with an error and is done again elsewhere.".to_owned(),
                        _ => format!("The {count} jobs that it runs end with an error and are done again elsewhere."),
                    };
                    format!("Revoke {}? It can never come back as it is. {what}", name.get())
                }}
            </p>
            <span class="row-actions">
                <button type="button" class="button small danger" disabled=idle on:click=revoke>
                    "Revoke for good"
                </button>
                <button type="button" class="button small" on:click=move |_| sure.set(false)>
                    "Keep it"
                </button>
            </span>
        </div>
        <Outcome of=submit />
    }
}

/// Creates a registration token, and shows the command with it once.
#[component]
fn AddRunner(path: String) -> impl IntoView {
    let api = use_api();
    let uses = RwSignal::new("1".to_owned());
    let hours = RwSignal::new("24".to_owned());
    let made = RwSignal::new(None::<NewRunnerToken>);
    let submit = Submit::new();
    let send = move || {
        let body = CreateRunnerToken {
            uses: uses.get_untracked().parse().unwrap_or(1),
            expires_in_hours: hours.get_untracked().parse().unwrap_or(24),
        };
        let (api, path) = (api.clone(), path.clone());
        submit.send(async move { api.post::<_, NewRunnerToken>(&path, &body).await }, move |token| {
            made.set(Some(token));
        });
    };
    view! {
        {move || {
            made.get()
                .map(|made| {
                    let machines = match made.token.uses {
                        1 => "one machine".to_owned(),
                        uses => format!("up to {uses} machines"),
                    };
                    view! {
                        <div class="notice is-success new-token">
                            <strong>
                                "Run this on the machine, which needs devenv-cloud, QEMU and an image. It is shown this once."
                            </strong>
                            <Code text=made.command what="the command" />
                            <p class="muted">
                                {format!("Good for {machines}. It appears above as soon as it has registered.")}
                            </p>
                        </div>
                    }
                })
        }}
        <details class="create">
            <summary class="button">"Add a runner"</summary>
            <ApiForm submit button="Create the command" on_submit=send>
                <Choice
                    label="For how many machines"
                    name="uses"
                    value=uses
                    options=vec![("1", "one"), ("5", "5"), ("20", "20"), ("100", "100")]
                />
                <Choice
                    label="It can be used for"
                    name="expires_in_hours"
                    value=hours
                    options=vec![("1", "an hour"), ("24", "a day"), ("168", "7 days"), ("720", "30 days")]
                />
            </ApiForm>
        </details>
    }
}
