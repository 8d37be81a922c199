//! From a source and what was asked for to the [`Assignment`] that a server
//! would make of it: the same names, with values of this machine.

use std::collections::BTreeMap;

use devenv_cloud_api::{
    Timestamp,
    ids::{AttemptId, JobId},
    orgs::NetworkPolicy,
    runs::{Commit, Trigger},
};
use serde_json::json;

use super::{Of, RunOptions, Source};
use crate::{
    clock::Random,
    executor::{Assignment, Lease, Limits, Network},
};

/// The organisation that a local run is in, as far as its job can see.
const ORG: &str = "local";

/// The platform that this program's machines are.
const PLATFORM: &str = "x86_64-linux";

/// MiB of log that are kept: as much as a server's default.
const LOG_MIB: u64 = 256;

pub(super) fn assignment(
    source: &Source,
    options: &RunOptions,
    random: &Random,
    now: Timestamp,
) -> Assignment {
    let attempt = AttemptId(random.id(now));
    let name = job_name(&options.profiles);
    Assignment {
        lease: Lease { attempt, token: u128::from_le_bytes(random.bytes()) },
        job: JobId(random.id(now)),
        commit: source.commit.clone(),
        git_ref: source.git_ref.clone(),
        origin: source.origin.clone(),
        platform: PLATFORM.to_owned(),
        profiles: options.profiles.clone(),
        tasks: options.tasks.clone(),
        cloud: cloud(source, &name, attempt),
        env: environment(source, &name),
        attributes: attributes(source, &name),
        accepted_at: None,
        queued_at: now,
        limits: Limits {
            cpus: options.cpus,
            memory_mib: options.memory,
            disk_mib: options.disk,
            timeout_seconds: options.timeout,
            log_bytes: LOG_MIB << 20,
        },
        network: Network {
            policy: if options.network == "off" { NetworkPolicy::Off } else { NetworkPolicy::Internet },
            hosts: Vec::new(),
        },
    }
}

/// The commit as the API describes commits.
pub(super) fn commit(source: &Source) -> Commit {
    let title = match &source.of {
        Of::Head => "the commit that is checked out".to_owned(),
        Of::WorkingTree { .. } => "the working tree".to_owned(),
        Of::Revision(revision) => revision.clone(),
    };
    Commit {
        sha: source.commit.clone(),
        git_ref: source.git_ref.clone(),
        title,
        author: source.actor.clone(),
        author_email: String::new(),
    }
}

fn job_name(profiles: &[String]) -> String {
    profiles.iter().fold(PLATFORM.to_owned(), |name, profile| format!("{name}.{profile}"))
}

/// The project's name: that of its directory.
pub(super) fn project(source: &Source) -> String {
    source.top.file_name().map_or_else(|| "project".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn branch(source: &Source) -> &str {
    source.git_ref.strip_prefix("refs/heads/").unwrap_or_default()
}

fn tag(source: &Source) -> &str {
    source.git_ref.strip_prefix("refs/tags/").unwrap_or_default()
}

fn short_ref(source: &Source) -> &str {
    [branch(source), tag(source)].into_iter().find(|name| !name.is_empty()).unwrap_or(&source.git_ref)
}

fn environment(source: &Source, job: &str) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = [
        ("CI", "true".to_owned()),
        ("DEVENV_CLOUD", "true".to_owned()),
        // What no run on a server has.
        ("DEVENV_CLOUD_LOCAL", "true".to_owned()),
        ("DEVENV_CLOUD_ORG", ORG.to_owned()),
        ("DEVENV_CLOUD_PROJECT", project(source)),
        ("DEVENV_CLOUD_RUN", "0".to_owned()),
        ("DEVENV_CLOUD_RUN_URL", String::new()),
        ("DEVENV_CLOUD_JOB", job.to_owned()),
        ("DEVENV_CLOUD_ATTEMPT", "1".to_owned()),
        ("DEVENV_CLOUD_TRIGGER", Trigger::Manual.to_string()),
        ("DEVENV_CLOUD_COMMIT", source.commit.clone()),
        ("DEVENV_CLOUD_REF", source.git_ref.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for (name, value) in [("DEVENV_CLOUD_BRANCH", branch(source)), ("DEVENV_CLOUD_TAG", tag(source))] {
        if !value.is_empty() {
            env.insert(name.to_owned(), value.to_owned());
        }
    }
    env
}

fn cloud(source: &Source, job: &str, attempt: AttemptId) -> serde_json::Value {
    json!({
        "enable": true,
        "ci": {
            "provider": "devenv-cloud",
            "actor": source.actor,
            "base_ref": null,
            "branch": branch(source),
            "default_branch": source.default_branch,
            "event": { "name": Trigger::Manual },
            "head_ref": branch(source),
            "job": { "id": job },
            "ref": { "full": source.git_ref, "name": short_ref(source) },
            "repository": format!("{ORG}/{}", project(source)),
            "run": { "id": attempt, "number": 0, "attempt": 1, "url": "" },
            "sha": source.commit,
            "tag": tag(source),
            "github": { "enabled": true },
        },
    })
}

fn attributes(source: &Source, job: &str) -> BTreeMap<String, String> {
    [
        ("cicd.pipeline.name", format!("{ORG}/{}", project(source))),
        ("cicd.pipeline.task.name", job.to_owned()),
        ("vcs.repository.name", project(source)),
        ("vcs.ref.head.name", short_ref(source).to_owned()),
        ("vcs.ref.head.revision", source.commit.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
