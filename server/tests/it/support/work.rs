//! Work to do: projects, runs, and an executor that does what the test says.

use std::collections::BTreeMap;

use devenv_cloud::{
    db::query,
    executor::{Assignment, Capacity, Conclusion, ControlPlane as _, Lease, Room},
    runs::{self, LocalControlPlane, NewRun, queue},
    telemetry::{JOB_SPAN, Record},
};
use devenv_cloud_api::{
    ids::{OrgId, ProjectId, SpanId},
    orgs::ProjectSettings,
    runs::{Commit, Run, Stage, State, Trigger},
    trace::{SpanKind, Stream},
};

use super::TestApp;

/// A project with no repository, as a row.
#[derive(Clone, Copy, Debug)]
pub struct Project {
    pub org: OrgId,
    pub id: ProjectId,
}

impl Project {
    /// `acme/web`, with default settings but for these.
    pub async fn create(app: &TestApp, settings: &ProjectSettings) -> Self {
        Self::create_in(app, "acme", settings).await
    }

    /// `web` of a new organisation.
    pub async fn create_in(app: &TestApp, org: &str, settings: &ProjectSettings) -> Self {
        let slug = org;
        let now = app.clock.now();
        let (org, id) = (OrgId(app.random.id(now)), ProjectId(app.random.id(now)));
        query("INSERT INTO orgs (id, slug, display_name, created_at) VALUES ($1, $3, 'Acme', $2)")
            .bind(org)
            .bind(now)
            .bind(slug)
            .execute(&app.db)
            .await
            .expect("an organisation");
        query(
            "INSERT INTO projects (id, org_id, slug, description, settings, next_run, created_at) \
             VALUES ($1, $2, 'web', '', $3, 1, $4)",
        )
        .bind(id)
        .bind(org)
        .bind(serde_json::to_string(settings).expect("JSON"))
        .bind(now)
        .execute(&app.db)
        .await
        .expect("a project");
        Self { org, id }
    }

    /// Makes a run for a commit that is in no repository.
    pub async fn run(self, app: &TestApp, branch: &str, sha: char) -> u64 {
        let new = NewRun {
            project: self.id,
            commit: Commit {
                sha: sha.to_string().repeat(40),
                git_ref: format!("refs/heads/{branch}"),
                title: "A change".to_owned(),
                author: "Ada".to_owned(),
                author_email: "ada@example.com".to_owned(),
            },
            trigger: Trigger::Push,
            triggered_by: "Ada".to_owned(),
            user: None,
            accepted_at: None,
            skip: None,
        };
        let mut tx = app.db.begin().await.expect("a transaction");
        let (_, number) = runs::create(app, &mut tx, &new).await.expect("a run");
        tx.commit().await.expect("commit");
        number
    }

    pub async fn show(self, app: &TestApp, number: u64) -> Run {
        let (org, slug) = ("acme".parse().expect("slug"), "web".parse().expect("slug"));
        runs::find_run(app, (&org, &slug, self.id), number, true).await.expect("the run")
    }

    /// The states of all attempts of a run's only job.
    pub async fn attempts(self, app: &TestApp, number: u64) -> Vec<State> {
        let run = self.show(app, number).await;
        let [job] = &run.jobs[..] else { panic!("{run:?}") };
        job.attempts.iter().map(|attempt| attempt.state).collect()
    }
}

/// An executor's view of the application.
pub fn plane(app: &TestApp) -> LocalControlPlane {
    LocalControlPlane::new(app.app.clone())
}

pub fn capacity() -> Capacity {
    Capacity {
        runner: "test".to_owned(),
        host: "host".to_owned(),
        platforms: vec!["x86_64-linux".to_owned()],
        slots: 100,
        room: Room { memory_mib: 1 << 20, cpus: 1000 },
    }
}

/// Claims what is in the queue, if anything is.
pub async fn claim(app: &TestApp) -> Option<Assignment> {
    claim_as(app, &capacity()).await
}

/// The same, for an executor that has this much. The last that was reported is weighed.
pub async fn claim_as(app: &TestApp, capacity: &Capacity) -> Option<Assignment> {
    queue::claim_once(app, queue::Claimant::Embedded(capacity)).await.expect("claim")
}

pub async fn finish(app: &TestApp, lease: &Lease, state: State) {
    let conclusion = Conclusion {
        state,
        reason: (state != State::Success).then(|| format!("it ended with {state}")),
        exit_status: None,
        dropped_lines: 0,
    };
    plane(app).finish(lease, conclusion).await.expect("finish");
}

/// Records as an executor would send them, one after the other.
pub struct Script {
    app: TestApp,
    pub records: Vec<Record>,
}

impl Script {
    pub fn new(app: &TestApp) -> Self {
        Self { app: app.clone(), records: Vec::new() }
    }

    pub fn open(mut self, id: u64, parent: Option<u64>, kind: SpanKind, stage: Option<Stage>) -> Self {
        self.records.push(Record::Opened {
            id: SpanId(id),
            parent: parent.map(SpanId),
            kind,
            stage,
            name: format!("span {id}"),
            time: self.app.clock.now(),
            attributes: BTreeMap::new(),
        });
        self
    }

    pub fn job(self) -> Self {
        self.open(JOB_SPAN.0, None, SpanKind::Job, None)
    }

    pub fn close(mut self, id: u64, state: State) -> Self {
        let time = self.app.clock.now();
        let attributes = [("process.exit.code".to_owned(), "3".to_owned())].into();
        self.records.push(Record::Closed { id: SpanId(id), time, state, attributes });
        self
    }

    pub fn line(mut self, span: u64, text: impl Into<String>) -> Self {
        let time = self.app.clock.now();
        self.records.push(Record::Line {
            span: SpanId(span),
            stream: Stream::Stdout,
            time,
            text: text.into(),
        });
        self
    }

    pub fn lines(mut self, span: u64, numbers: std::ops::RangeInclusive<u64>) -> Self {
        for number in numbers {
            self = self.line(span, format!("line {number}"));
        }
        self
    }

    /// Sends what there is as records from `first` on.
    pub async fn send(self, lease: &Lease, first: u64) {
        plane(&self.app).append(lease, first, self.records).await.expect("append");
    }
}

/// Text of this many characters that no compression makes much smaller.
pub fn noise(app: &TestApp, length: usize) -> String {
    let mut text = String::new();
    while text.len() < length {
        text.push_str(&hex::encode(app.random.bytes::<1024>()));
    }
    text.truncate(length);
    text
}
