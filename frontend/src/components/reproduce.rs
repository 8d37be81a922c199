//! The line that does a failed job again on one's own machine.

use devenv_cloud_api::runs::{Attempt, Stage};
use leptos::prelude::*;

use super::{code::Code, state::is_bad};

/// The command for an attempt that went wrong; nothing for one that did not.
///
/// A task is named if it alone is to blame, so that what is done again is short;
/// devenv's own come after everything else anyway.
#[must_use]
pub fn command(sha: &str, profile: Option<&str>, attempt: &Attempt) -> Option<String> {
    if !is_bad(attempt.state) {
        return None;
    }
    let mut words = vec!["devenv-cloud".to_owned(), "run".to_owned(), "--rev".to_owned(), quoted(sha)];
    if let Some(profile) = profile {
        words.extend(["--profile".to_owned(), quoted(profile)]);
    }
    let mut failed = attempt.stages.iter().filter(|stage| is_bad(stage.state));
    if let (Some(only), None) = (failed.next(), failed.next())
        && only.stage == Stage::Task
        && !only.name.starts_with("devenv:")
    {
        words.extend(["--task".to_owned(), quoted(&only.name)]);
    }
    Some(words.join(" "))
}

/// A word as a shell reads it again.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '_' | '-' | '/' | '@' | '+');
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Shows the line, or lines, with a button that copies them.
#[component]
pub fn Reproduce(
    /// The lines, if there is something to do again.
    #[prop(into)]
    command: Signal<Option<String>>,
) -> impl IntoView {
    view! {
        {move || {
            command
                .get()
                .map(|command| {
                    view! {
                        <section class="reproduce" aria-label="Do it again on your own machine">
                            <span class="muted">"Do it again on your own machine"</span>
                            <Code text=command what="the command" />
                        </section>
                    }
                })
        }}
    }
}

#[cfg(test)]
mod tests {
    use devenv_cloud_api::{
        ids::{AttemptId, SpanId},
        runs::{StageSummary, State},
    };

    use super::*;

    fn attempt(state: State, stages: &[(Stage, &str, State)]) -> Attempt {
        let time = Default::default();
        Attempt {
            id: AttemptId(Default::default()),
            runner: None,
            number: 1,
            state,
            reason: None,
            waits: None,
            latency: None,
            exit_status: None,
            queued_at: time,
            started_at: None,
            finished_at: None,
            stages: stages
                .iter()
                .map(|(stage, name, state)| StageSummary {
                    span: SpanId(1),
                    stage: *stage,
                    name: (*name).to_owned(),
                    state: *state,
                    started_at: time,
                    finished_at: None,
                    exit_status: None,
                })
                .collect(),
            annotations: Vec::new(),
        }
    }

    #[test]
    fn the_line_names_the_commit_the_profile_and_the_one_task_to_blame() {
        use State::{Failure, Skip, Success};
        let one = attempt(
            Failure,
            &[
                (Stage::Task, "app:build", Success),
                (Stage::Task, "app:test", Failure),
                (Stage::Task, "x", Skip),
            ],
        );
        assert_eq!(
            command("abc", Some("release"), &one).as_deref(),
            Some("devenv-cloud run --rev abc --profile release --task app:test")
        );
        let several = attempt(Failure, &[(Stage::Task, "a", Failure), (Stage::Task, "b", Failure)]);
        assert_eq!(command("abc", None, &several).as_deref(), Some("devenv-cloud run --rev abc"));
        for (stage, name) in [(Stage::Evaluate, "evaluate"), (Stage::Task, "devenv:enterTest")] {
            let other = attempt(Failure, &[(stage, name, Failure)]);
            assert_eq!(command("abc", None, &other).as_deref(), Some("devenv-cloud run --rev abc"));
        }
        assert_eq!(command("abc", None, &attempt(Success, &[])), None);
        assert_eq!(command("abc", None, &attempt(State::Cancellation, &[])), None);
    }

    #[test]
    fn a_shell_reads_what_was_meant() {
        assert_eq!(quoted("app:test-1.x"), "app:test-1.x");
        assert_eq!(quoted("it's; rm"), r"'it'\''s; rm'");
        assert_eq!(quoted(""), "''");
    }
}
