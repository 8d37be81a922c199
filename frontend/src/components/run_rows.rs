//! Runs in a list: state, what was committed, how long, when. The list lives:
//! rows change where they stand, and new runs come in at the top, unless the
//! reader is about to use the list; then they wait until they are asked for.

use devenv_cloud_api::{
    ids::RunId,
    runs::{RunSummary, State},
};
use leptos::{html, prelude::*};

use crate::{
    components::{
        state::StateMark,
        time::{Ago, Elapsed},
    },
    format, live,
};

/// The address of a run.
#[must_use]
pub fn run_href(org: &str, project: &str, number: u64) -> String {
    format!("/{org}/{project}/runs/{number}")
}

/// Which new runs come into a list.
#[derive(Clone, Debug, Default)]
pub struct Fresh {
    /// None at all: it is not the first page.
    pub none: bool,
    /// Only of this branch, or full ref; of all if empty.
    pub branch: String,
    /// Only in this state.
    pub state: Option<State>,
}

impl Fresh {
    fn takes(&self, run: &RunSummary) -> bool {
        !self.none
            && (self.branch.is_empty()
                || run.commit.git_ref == self.branch
                || run.commit.git_ref.strip_prefix("refs/heads/") == Some(&*self.branch))
            && self.state.is_none_or(|state| state == run.state)
    }
}

/// Runs as they are shown, and those that wait.
#[derive(Clone, Debug, Default)]
struct Shown {
    runs: Vec<RunSummary>,
    waiting: Vec<RunSummary>,
}

impl Shown {
    /// Takes in a run as it is now. `wait`: a new one does not come in yet.
    fn take(&mut self, run: RunSummary, fresh: &Fresh, wait: bool) {
        let known = self.runs.iter_mut().chain(&mut self.waiting).find(|known| known.id == run.id);
        if let Some(known) = known {
            *known = run;
            return;
        }
        let newest = self.runs.iter().map(|run| run.number).max().unwrap_or_default();
        if run.number > newest && fresh.takes(&run) {
            self.waiting.push(run);
            self.waiting.sort_by_key(|run| std::cmp::Reverse(run.number));
        }
        if !wait {
            self.let_in();
        }
    }

    fn let_in(&mut self) {
        self.runs.splice(0..0, self.waiting.drain(..));
    }
}

/// A list of runs of one project.
#[component]
pub fn RunRows(
    #[prop(into)] org: String,
    #[prop(into)] project: String,
    runs: Vec<RunSummary>,
    fresh: Fresh,
) -> impl IntoView {
    let shown = RwSignal::new(Shown { runs, waiting: Vec::new() });
    let list = NodeRef::<html::Ol>::new();
    let path = format!("/orgs/{org}/projects/{project}");
    Effect::new(move |_| {
        let fresh = fresh.clone();
        live::follow_runs(&path, move |news| {
            let in_use = list
                .get_untracked()
                .is_some_and(|list| list.matches(":hover, :focus-within").unwrap_or_default());
            let _ = shown.try_update(|shown| {
                // The oldest first, so that each is newer than the ones that are there.
                for placed in news.into_iter().rev() {
                    shown.take(placed.run, &fresh, in_use);
                }
            });
        });
    });
    let ids = Memo::new(move |_| shown.with(|s| s.runs.iter().map(|run| run.id).collect::<Vec<_>>()));
    let waiting = Memo::new(move |_| shown.with(|s| s.waiting.len()));
    view! {
        <p class="rows-waiting" role="status">
            {move || {
                (waiting.get() > 0)
                    .then(|| {
                        view! {
                            <button type="button" class="button small" on:click=move |_| shown.update(Shown::let_in)>
                                {format!("Show {}", format::plural(waiting.get(), "new run", "new runs"))}
                            </button>
                        }
                    })
            }}
        </p>
        <ol class="rows run-rows" aria-label="Runs" node_ref=list>
            <For
                each=move || ids.get()
                key=|id| *id
                children=move |id: RunId| {
                    let run = Memo::new(move |_| shown.with(|s| s.runs.iter().find(|run| run.id == id).cloned()));
                    let href = run.with_untracked(|run| {
                        run.as_ref().map(|run| run_href(&org, &project, run.number)).unwrap_or_default()
                    });
                    view! { <RunRow run href /> }
                }
            />
        </ol>
    }
}

/// One run. What was committed stays; how it stands does not.
#[component]
fn RunRow(run: Memo<Option<RunSummary>>, href: String) -> impl IntoView {
    let state = Memo::new(move |_| run.with(|run| run.as_ref().map_or(State::Queued, |run| run.state)));
    let started = Signal::derive(move || run.with(|run| run.as_ref().and_then(|run| run.started_at)));
    let finished = Signal::derive(move || run.with(|run| run.as_ref().and_then(|run| run.finished_at)));
    let reason = Memo::new(move |_| run.with(|run| run.as_ref().and_then(|run| run.reason.clone())));
    run.get_untracked().map(|run| {
        let title =
            if run.commit.title.is_empty() { "(no message)".to_owned() } else { run.commit.title.clone() };
        view! {
            <li class="row run-row">
                <span class="run-row-state">
                    <StateMark state />
                </span>
                <span class="run-row-words">
                    <a
                        class="row-link"
                        href=href
                        data-row=""
                        data-failure=move || crate::components::state::is_bad(state.get()).then_some("")
                    >
                        <span class="run-row-title">{title}</span>
                    </a>
                    <span class="run-row-about muted">
                        <span class="run-number">"#" {run.number}</span>
                        <span class="ref">{run.commit.short_ref().to_owned()}</span>
                        <code>{run.commit.short_sha().to_owned()}</code>
                        <span class="clip">{run.commit.author.clone()}</span>
                        {move || reason.get().map(|reason| view! { <span class="clip run-row-reason">{reason}</span> })}
                    </span>
                </span>
                <span class="run-row-times muted">
                    <Elapsed start=started end=finished />
                    <Ago time=run.created_at />
                </span>
            </li>
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u64, state: State) -> RunSummary {
        serde_json::from_value(serde_json::json!({
            "id": format!("019b76da-a800-7000-8000-{number:012}"), "number": number, "state": state,
            "trigger": "push", "triggered_by": "Ada", "created_at": "2026-01-01T00:00:00Z",
            "commit": {"sha": "a", "git_ref": "refs/heads/main", "title": "", "author": "", "author_email": ""},
        }))
        .unwrap_or_else(|error| panic!("{error}"))
    }

    fn numbers(runs: &[RunSummary]) -> Vec<u64> {
        runs.iter().map(|run| run.number).collect()
    }

    #[test]
    fn what_is_new_comes_in_at_the_top_or_waits() {
        let mut shown = Shown { runs: vec![run(3, State::Running), run(1, State::Success)], waiting: vec![] };
        let all = Fresh::default();
        shown.take(run(4, State::Queued), &all, true);
        shown.take(run(5, State::Queued), &all, true);
        shown.take(run(4, State::Running), &all, true);
        assert_eq!((numbers(&shown.runs), numbers(&shown.waiting)), (vec![3, 1], vec![5, 4]));
        assert_eq!(shown.waiting[1].state, State::Running);
        shown.let_in();
        assert_eq!(numbers(&shown.runs), [5, 4, 3, 1]);
        shown.take(run(3, State::Failure), &all, false);
        assert_eq!(shown.runs[2].state, State::Failure, "where it stands");
        shown.take(run(2, State::Success), &all, false);
        assert_eq!(shown.runs.len(), 4, "what is older was left out for a reason");
    }

    #[test]
    fn a_filter_holds_for_what_is_new() {
        let branch = Fresh { branch: "main".to_owned(), ..Fresh::default() };
        assert!(branch.takes(&run(1, State::Queued)));
        assert!(!Fresh { branch: "other".to_owned(), ..Fresh::default() }.takes(&run(1, State::Queued)));
        assert!(!Fresh { state: Some(State::Failure), ..Fresh::default() }.takes(&run(1, State::Queued)));
        assert!(!Fresh { none: true, ..Fresh::default() }.takes(&run(1, State::Queued)));
    }
}
