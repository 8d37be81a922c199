//! From rows to an [`Assignment`]: limits, environment, and the values of the
//! `cloud.*` options.

use std::collections::BTreeMap;

use devenv_cloud_api::{orgs::ProjectSettings, runs::Trigger};
use serde_json::json;

use super::store::AssignmentRow;
use crate::{
    app::AppParts,
    executor::{Assignment, Lease, Limits, Network},
};

pub(super) fn assignment(app: &AppParts, lease: Lease, row: AssignmentRow) -> Assignment {
    let run_url = app.url(&format!("/{}/{}/runs/{}", row.org, row.project, row.run_number));
    let job_url = format!("{run_url}/jobs/{}", row.job_name);
    let origin = app.url(&format!("/{}/{}.git", row.org, row.project));
    let settings = &row.settings;
    let limits = Limits {
        cpus: settings.cpus,
        memory_mib: settings.memory_mib,
        disk_mib: settings.disk_mib,
        timeout_seconds: settings.timeout_minutes.saturating_mul(60),
        log_bytes: u64::from(app.config.limits.log_mib) << 20,
    };
    Assignment {
        job: row.job,
        commit: row.commit.sha.clone(),
        git_ref: row.commit.git_ref.clone(),
        platform: row.platform.clone(),
        profiles: row.profile.iter().cloned().collect(),
        tasks: Vec::new(),
        cloud: cloud(&row, &run_url),
        env: environment(&row, &run_url),
        attributes: attributes(&row, &run_url, &job_url, &origin),
        accepted_at: row.accepted_at,
        queued_at: row.queued_at,
        lease,
        origin,
        limits,
        network: network(row.trigger, settings),
    }
}

/// What the jobs of a run may reach. Whoever may push to our own remote or start
/// a run may have the project's policy; a trigger whose code comes from elsewhere
/// (a fork) gets none unless the project says so.
fn network(trigger: Trigger, settings: &ProjectSettings) -> Network {
    match trigger {
        Trigger::Push | Trigger::Manual => {
            Network { policy: settings.network, hosts: settings.network_hosts.clone() }
        }
    }
}

fn branch(row: &AssignmentRow) -> Option<&str> {
    row.commit.git_ref.strip_prefix("refs/heads/")
}

fn tag(row: &AssignmentRow) -> Option<&str> {
    row.commit.git_ref.strip_prefix("refs/tags/")
}

/// What every command of the job finds in its environment.
fn environment(row: &AssignmentRow, run_url: &str) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = [
        ("CI", "true".to_owned()),
        ("DEVENV_CLOUD", "true".to_owned()),
        ("DEVENV_CLOUD_ORG", row.org.to_string()),
        ("DEVENV_CLOUD_PROJECT", row.project.to_string()),
        ("DEVENV_CLOUD_RUN", row.run_number.to_string()),
        ("DEVENV_CLOUD_RUN_URL", run_url.to_owned()),
        ("DEVENV_CLOUD_JOB", row.job_name.clone()),
        ("DEVENV_CLOUD_ATTEMPT", row.attempt_number.to_string()),
        ("DEVENV_CLOUD_TRIGGER", row.trigger.to_string()),
        ("DEVENV_CLOUD_COMMIT", row.commit.sha.clone()),
        ("DEVENV_CLOUD_REF", row.commit.git_ref.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(branch) = branch(row) {
        env.insert("DEVENV_CLOUD_BRANCH".to_owned(), branch.to_owned());
    }
    if let Some(tag) = tag(row) {
        env.insert("DEVENV_CLOUD_TAG".to_owned(), tag.to_owned());
    }
    env
}

/// What `config.cloud.*` says. The names under `ci` are those of
/// `guest/nix/options/cloud.nix`; `ci.github` falls back to them.
fn cloud(row: &AssignmentRow, run_url: &str) -> serde_json::Value {
    json!({
        "enable": true,
        "ci": {
            "provider": "devenv-cloud",
            "actor": row.triggered_by,
            "base_ref": null,
            "branch": branch(row).unwrap_or_default(),
            "default_branch": row.settings.default_branch,
            "event": { "name": row.trigger },
            "head_ref": branch(row).unwrap_or_default(),
            "job": { "id": row.job_name },
            "ref": { "full": row.commit.git_ref, "name": row.commit.short_ref() },
            "repository": format!("{}/{}", row.org, row.project),
            "run": {
                "id": row.run,
                "number": row.run_number,
                "attempt": row.attempt_number,
                "url": run_url,
            },
            "sha": row.commit.sha,
            "tag": tag(row).unwrap_or_default(),
            // Samples in devenv's documentation ask for GitHub's names; they
            // mean "on CI", not "on github.com".
            "github": { "enabled": true },
        },
    })
}

/// The job's span in OpenTelemetry's vocabulary (semantic conventions 1.44).
fn attributes(row: &AssignmentRow, run_url: &str, job_url: &str, origin: &str) -> BTreeMap<String, String> {
    let kind = if tag(row).is_some() { "tag" } else { "branch" };
    let mut attributes: BTreeMap<_, _> = [
        ("cicd.pipeline.name", format!("{}/{}", row.org, row.project)),
        ("cicd.pipeline.run.id", row.run.to_string()),
        ("cicd.pipeline.run.url.full", run_url.to_owned()),
        ("cicd.pipeline.task.name", row.job_name.clone()),
        ("cicd.pipeline.task.run.id", row.job.to_string()),
        ("cicd.pipeline.task.run.url.full", job_url.to_owned()),
        ("vcs.owner.name", row.org.to_string()),
        ("vcs.repository.name", row.project.to_string()),
        ("vcs.repository.url.full", origin.to_owned()),
        ("vcs.ref.head.name", row.commit.short_ref().to_owned()),
        ("vcs.ref.head.revision", row.commit.sha.clone()),
        ("vcs.ref.head.type", kind.to_owned()),
        ("cicd.worker.name", row.executor.rsplit('/').next().unwrap_or_default().to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(runner) = row.runner {
        attributes.insert("cicd.worker.id".to_owned(), runner.to_string());
    }
    attributes
}
