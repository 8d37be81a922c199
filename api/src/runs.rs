//! Runs, jobs and attempts.
//!
//! A run is one commit and one trigger. It has a job for each platform and
//! profile; each job has one or more attempts. Only attempts really happen;
//! the state of a job is that of its newest attempt, and the state of a run
//! follows from its jobs.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{AttemptId, JobId, RunId, SpanId},
    names::Slug,
    permissions::words,
};

words! {
    /// Where something stands. The last six are ends, in OpenTelemetry's words
    /// (`cicd.pipeline.result`).
    State {
        /// Waits for a machine.
        Queued = "queued",
        /// Is being worked on.
        Running = "running",
        /// Did what it should.
        Success = "success",
        /// The job's own fault: a task failed, `devenv.nix` has an error.
        Failure = "failure",
        /// The system's fault: the machine died, the server restarted.
        Error = "error",
        /// Took longer than it may.
        Timeout = "timeout",
        /// Somebody, or a newer push, cancelled it.
        Cancellation = "cancellation",
        /// There was nothing to do, and a reason says why.
        Skip = "skip",
    }
}

impl State {
    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// What a run is when its jobs are these: still moving if one is, else the
    /// worst end. An empty run is a skip: it had nothing to do.
    #[must_use]
    pub fn of_all(states: impl IntoIterator<Item = Self>) -> Self {
        let badness = |s: Self| match s {
            Self::Skip => 0,
            Self::Success => 1,
            Self::Cancellation => 2,
            Self::Timeout => 3,
            Self::Error => 4,
            Self::Failure => 5,
            Self::Queued => 6,
            Self::Running => 7,
        };
        let mut worst = Self::Skip;
        let (mut queued, mut ended) = (false, false);
        for state in states {
            queued |= state == Self::Queued;
            ended |= state.is_final();
            if badness(state) > badness(worst) {
                worst = state;
            }
        }
        // Some jobs ended and others wait: the run as a whole is under way.
        if queued && ended { Self::Running } else { worst }
    }
}

words! {
    /// What made a run.
    Trigger {
        /// A push to our git remote.
        Push = "push",
        /// Somebody started it by hand or over the API.
        Manual = "manual",
    }
}

words! {
    /// The part of a job's life that a span or a duration belongs to.
    Stage {
        /// Waiting for a machine.
        Queue = "queue",
        /// Getting a machine.
        Machine = "machine",
        /// Delivering the source.
        Checkout = "checkout",
        /// Evaluating `devenv.nix`.
        Evaluate = "evaluate",
        /// Building what evaluation asked for.
        Build = "build",
        /// Running a task.
        Task = "task",
        /// Collecting outputs.
        Outputs = "outputs",
        /// Giving the machine back.
        Teardown = "teardown",
    }
}

words! {
    /// A step on the way from a push to the first task of its job. Each ends
    /// where the next begins.
    Step {
        /// The push is stored; its job is put into the queue.
        Accepted = "accepted",
        /// The job waits for a slot.
        Queued = "queued",
        /// A machine is made or taken, until it answers.
        Machine = "machine",
        /// The machine gets entropy, the time and a name of its own.
        Reseed = "reseed",
        /// The source is delivered.
        Source = "source",
        /// Nix starts. At its end, evaluation begins.
        Evaluator = "evaluator",
        /// `devenv.nix` is evaluated.
        Evaluation = "evaluation",
        /// Until the first task begins.
        Task = "task",
    }
}

words! {
    /// How a machine came to be.
    MachineStart {
        /// It waited.
        Pooled = "pooled",
        /// It was restored from a template.
        OnDemand = "on_demand",
        /// It was booted.
        Cold = "cold",
    }
}

/// How long it took until an attempt did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Latency {
    /// How its machine came to be, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<MachineStart>,
    /// Milliseconds from the push (or, where no push made the attempt, from the
    /// moment when it was queued) to the first word of the evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_to_evaluation_ms: Option<u64>,
    /// The steps that have ended, in their order.
    pub steps: Vec<StepTime>,
}

/// How long a step took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StepTime {
    /// The step.
    pub step: Step,
    /// Milliseconds.
    pub millis: u64,
}

/// The commit of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Commit {
    /// The full object name, hexadecimal.
    pub sha: String,
    /// The full ref that was pushed, e.g. `refs/heads/main`.
    pub git_ref: String,
    /// The first line of its message.
    pub title: String,
    /// Who wrote it.
    pub author: String,
    /// Their e-mail address.
    pub author_email: String,
}

impl Commit {
    /// The branch or tag without `refs/heads/` or `refs/tags/`.
    #[must_use]
    pub fn short_ref(&self) -> &str {
        self.git_ref
            .strip_prefix("refs/heads/")
            .or_else(|| self.git_ref.strip_prefix("refs/tags/"))
            .unwrap_or(&self.git_ref)
    }

    /// The first eight digits of the object name.
    #[must_use]
    pub fn short_sha(&self) -> &str {
        self.sha.get(..8).unwrap_or(&self.sha)
    }
}

/// A run in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunSummary {
    /// The id.
    pub id: RunId,
    /// The number within the project, from 1.
    pub number: u64,
    /// Where it stands.
    pub state: State,
    /// Why, when that needs a sentence (a skip, a cancellation, an error).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What made it.
    pub trigger: Trigger,
    /// Who made it.
    pub triggered_by: String,
    /// The commit.
    pub commit: Commit,
    /// When the push was accepted.
    pub created_at: DateTime<Utc>,
    /// When its first job left the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    /// When its last job ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
}

/// A run with its jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "FlatRun")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Run {
    /// The organisation's name in addresses.
    pub org: Slug,
    /// The project's name in addresses.
    pub project: Slug,
    /// What a list shows of it.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// Its jobs, by name.
    pub jobs: Vec<Job>,
    /// Whether the one who asks may retry and cancel it.
    pub can_operate: bool,
}

/// A [`Run`] as it is read. serde reads a flattened struct through a copy of
/// everything in it, for which a browser would have to download the code.
#[derive(Deserialize)]
struct FlatRun {
    org: Slug,
    project: Slug,
    id: RunId,
    number: u64,
    state: State,
    #[serde(default)]
    reason: Option<String>,
    trigger: Trigger,
    triggered_by: String,
    commit: Commit,
    created_at: DateTime<Utc>,
    #[serde(default)]
    started_at: Option<DateTime<Utc>>,
    #[serde(default)]
    finished_at: Option<DateTime<Utc>>,
    jobs: Vec<Job>,
    can_operate: bool,
}

impl From<FlatRun> for Run {
    fn from(flat: FlatRun) -> Self {
        Self {
            org: flat.org,
            project: flat.project,
            summary: RunSummary {
                id: flat.id,
                number: flat.number,
                state: flat.state,
                reason: flat.reason,
                trigger: flat.trigger,
                triggered_by: flat.triggered_by,
                commit: flat.commit,
                created_at: flat.created_at,
                started_at: flat.started_at,
                finished_at: flat.finished_at,
            },
            jobs: flat.jobs,
            can_operate: flat.can_operate,
        }
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Job {
    /// The id.
    pub id: JobId,
    /// The name within the run: the platform, with `.profile` where there is
    /// one, e.g. `x86_64-linux.release`. Stands in addresses.
    pub name: String,
    /// The platform, e.g. `x86_64-linux`.
    pub platform: String,
    /// The profile, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Where its newest attempt stands.
    pub state: State,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
}

/// One attempt at a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// The id. Also the trace's id.
    pub id: AttemptId,
    /// From 1.
    pub number: u32,
    /// Where it stands.
    pub state: State,
    /// Why it ended so, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// While it is queued: why it waits, in words that follow "it".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "waits for one of 2 slots"))]
    pub waits: Option<String>,
    /// The exit status of the job's last command, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// When it was put into the queue.
    pub queued_at: DateTime<Utc>,
    /// When a runner took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// The runner that took it, by name; absent when a server executed it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// The way from the push to the first task, as far as it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Box<Latency>>,
    /// How long each stage and task took, in the order in which they began.
    pub stages: Vec<StageSummary>,
    /// Errors with their places, the first thing to show (evaluation errors, failed tasks).
    pub annotations: Vec<Annotation>,
}

/// One stage or task of an attempt, summed up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StageSummary {
    /// The span that it sums up.
    pub span: SpanId,
    /// Which part of the job's life.
    pub stage: Stage,
    /// The stage's or the task's name.
    pub name: String,
    /// How it ended; `running` while it has not.
    pub state: State,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// The exit status, for tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
}

/// An error with its place in the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Annotation {
    /// What is wrong, possibly over several lines.
    pub message: String,
    /// The file, relative to the project, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The span in which it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SpanId>,
}

/// Starts a run by hand.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StartRun {
    /// A branch, a tag or a full ref name; the default branch when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::State::{self, *};

    #[test]
    fn a_run_is_as_bad_as_its_worst_job() {
        for (jobs, run) in [
            (&[][..], Skip),
            (&[Success, Success], Success),
            (&[Success, Skip], Success),
            (&[Success, Failure, Error], Failure),
            (&[Success, Error], Error),
            (&[Cancellation, Success], Cancellation),
            (&[Queued, Queued], Queued),
            (&[Queued, Success], Running),
            (&[Running, Failure], Running),
        ] {
            assert_eq!(State::of_all(jobs.iter().copied()), run, "{jobs:?}");
        }
    }
}
