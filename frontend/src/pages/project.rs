//! `/{org}/{project}`: the project's runs. Branch, state and page stand in
//! the address, and the filter is a plain form, so all of it works without a script.

use devenv_cloud_api::{
    orgs::Project as TheProject,
    page::Page,
    permissions::Action,
    runs::{Run, RunSummary, StartRun, State},
};
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;

use super::{param, query};
use crate::{
    asked::ask,
    components::{
        code::Code,
        form::{Outcome, Submit},
        load::{Empty, Load},
        page_head::PageHead,
        run_rows::{Fresh, RunRows, run_href},
        state::word,
        tabs::{Tab, Tabs},
    },
    context::{use_alive, use_api},
    format::query_value,
    live,
};

/// The tabs of a project.
pub(super) fn tabs(project: &TheProject, current: &str) -> Vec<Tab> {
    let base = format!("/{}/{}", project.org, project.slug);
    let mut tabs = vec![Tab { label: "Runs", href: base.clone(), current: current == "runs" }];
    if project.allowed.contains(&Action::UpdateProject) {
        tabs.push(Tab {
            label: "Settings",
            href: format!("{base}/settings/general"),
            current: current == "settings",
        });
    }
    tabs
}

/// The project's page.
#[component]
pub fn Project() -> impl IntoView {
    let api = use_api();
    let (org, project) = (param("org"), param("project"));
    let (branch, state, cursor) = (query("branch"), query("state"), query("cursor"));
    let asked = ask(move || {
        let api = api.clone();
        let base = format!("/orgs/{}/projects/{}", org.get(), project.get());
        let mut path = format!("{base}/runs?limit=50");
        for (name, value) in [("branch", branch), ("state", state), ("cursor", cursor)] {
            let value = value.get();
            if !value.is_empty() {
                path.push_str(&format!("&{name}={}", query_value(&value)));
            }
        }
        async move {
            let project: TheProject = api.get(&base).await?;
            let runs: Page<RunSummary> = api.get(&path).await?;
            Ok((project, runs))
        }
    });
    view! {
        <Load
            asked
            what="the runs"
            view=move |(project, runs): (TheProject, Page<RunSummary>)| {
                let tabs = tabs(&project, "runs");
                let (org, slug) = (project.org.to_string(), project.slug.to_string());
                let base = format!("/{org}/{slug}");
                let filtered = !(branch.get().is_empty() && state.get().is_empty() && cursor.get().is_empty());
                let never_ran = runs.items.is_empty() && !filtered;
                let next = runs
                    .next_cursor
                    .map(|next| {
                        format!(
                            "{base}?branch={}&state={}&cursor={}",
                            query_value(&branch.get()),
                            query_value(&state.get()),
                            query_value(&next),
                        )
                    });
                let may_start = project.allowed.contains(&Action::OperateRuns) && !never_ran;
                let (for_button, all_runs, newest) = (project.clone(), base.clone(), base.clone());
                let paging = !cursor.get().is_empty();
                let fresh = Fresh { none: paging, branch: branch.get(), state: state.get().parse().ok() };
                view! {
                    <PageHead
                        title=slug.clone()
                        window_title=format!("{org}/{slug}")
                        about=project.description.clone()
                    >
                        {may_start.then(|| view! { <StartRunButton project=for_button /> })}
                    </PageHead>
                    <Tabs label="Project" tabs />
                    {if never_ran {
                        view! { <FirstPush project=project.clone() on_run=move || asked.refetch() /> }.into_any()
                    } else {
                        view! {
                            <RunFilter branch=branch.get() state=state.get() base=base.clone() filtered />
                            {if runs.items.is_empty() {
                                view! {
                                    <Empty title="No run matches">
                                        <p>
                                            <a href=all_runs>"Show all runs"</a>
                                        </p>
                                    </Empty>
                                }
                                    .into_any()
                            } else {
                                view! { <RunRows org=org.clone() project=slug.clone() runs=runs.items fresh /> }.into_any()
                            }}
                            <nav class="paging" aria-label="Pages">
                                {paging.then(|| view! { <a class="button" href=newest>"Newest"</a> })}
                                {next.map(|href| view! { <a class="button" href=href rel="next">"Older"</a> })}
                            </nav>
                        }
                            .into_any()
                    }}
                }
                    .into_any()
            }
        />
    }
}

/// Branch and state.
#[component]
fn RunFilter(branch: String, state: String, base: String, filtered: bool) -> impl IntoView {
    let form = NodeRef::<leptos::html::Form>::new();
    let action = base.clone();
    view! {
        <form class="filter" method="get" action=action node_ref=form>
            <input
                type="search"
                name="branch"
                class="mono"
                placeholder="branch"
                aria-label="Branch"
                value=branch
                autocomplete="off"
                autocapitalize="off"
                spellcheck="false"
            />
            <select
                name="state"
                aria-label="State"
                on:change=move |_| {
                    if let Some(form) = form.get_untracked() {
                        let _ = form.request_submit();
                    }
                }
            >
                <option value="" selected=state.is_empty()>
                    "every state"
                </option>
                {State::ALL
                    .iter()
                    .map(|s| {
                        view! {
                            <option value=s.as_str() selected=s.as_str() == state>
                                {word(*s)}
                            </option>
                        }
                    })
                    .collect_view()}
            </select>
            <button class="button">"Filter"</button>
            {filtered.then(|| view! { <a class="button quiet" href=base>"Clear"</a> })}
        </form>
    }
}

/// Starts a run of the default branch.
#[component]
fn StartRunButton(project: TheProject) -> impl IntoView {
    let api = use_api();
    let navigate = use_navigate();
    let alive = use_alive();
    let submit = Submit::new();
    let branch = project.settings.default_branch.clone();
    let start = move |_| {
        let path = format!("/orgs/{}/projects/{}/runs", project.org, project.slug);
        let (api, navigate) = (api.clone(), navigate.clone());
        submit
            .send(async move { api.post::<_, Run>(&path, &StartRun { git_ref: None }).await }, move |run| {
                navigate(&run_href(&run.org, &run.project, run.summary.number), Default::default())
            });
    };
    view! {
        <div class="start-run">
            <button
                type="button"
                class="button"
                disabled=move || !alive.get() || submit.pending().get()
                on:click=start
            >
                "Run "
                {branch}
            </button>
            <Outcome of=submit />
        </div>
    }
}

/// What to do with a project that nobody has pushed to.
#[component]
fn FirstPush(
    project: TheProject,
    /// Called when there is a run.
    on_run: impl Fn() + Copy + 'static,
) -> impl IntoView {
    let path = format!("/orgs/{}/projects/{}", project.org, project.slug);
    Effect::new(move |_| live::follow_runs(&path, move |_| on_run()));
    let branch = project.settings.default_branch.clone();
    let commands = format!("git remote add cloud {}\ngit push cloud HEAD:{branch}", project.clone_url,);
    let file = "{\n  tasks.\"ci:hello\".exec = \"echo hello\";\n  enterTest = \"echo all is well\";\n}";
    let settings = format!("/{}/{}/settings/tokens", project.org, project.slug);
    view! {
        <Empty title="Nothing was pushed yet">
            <ol class="steps">
                <li>
                    <p>
                        "In your repository, have a " <code>"devenv.nix"</code>
                        ". This one is enough to begin with:"
                    </p>
                    <Code text=file what="devenv.nix" />
                </li>
                <li>
                    <p>
                        "Create a token that may write, in " <a href=settings>"settings"</a> " or in your "
                        <a href="/account/tokens">"account"</a> ". It is the password that git asks for."
                    </p>
                </li>
                <li>
                    <p>"Push:"</p>
                    <Code text=commands what="the commands" />
                </li>
            </ol>
            <p class="muted">"git prints the address of the run. It also appears here."</p>
        </Empty>
    }
}
