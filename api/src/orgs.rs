//! Organisations, their members and projects.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{OrgId, ProjectId, UserId},
    names::Slug,
    permissions::{Action, Role, words},
    runs::RunSummary,
};

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Org {
    /// The id.
    pub id: OrgId,
    /// The name in addresses.
    pub slug: Slug,
    /// The name for people.
    pub display_name: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// The role of the one who asks; absent for an instance administrator who is no member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Where the one who asks stands with what the organisation asks of everybody's sign-in.
    pub standing: crate::factors::Standing,
    /// What the one who asks may do here, so that pages need not guess.
    pub allowed: Vec<Action>,
}

/// Creates an organisation, with its creator as owner.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateOrg {
    /// The name in addresses.
    pub slug: Slug,
    /// The name for people; the same as `slug` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// Changes an organisation. Absent fields stay as they are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateOrg {
    /// The new name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// A member of an organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Member {
    /// Who.
    pub user_id: UserId,
    /// The display name.
    pub name: String,
    /// The e-mail address.
    pub email: String,
    /// What they may do.
    pub role: Role,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// Adds a person who has an account on this instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AddMember {
    /// The e-mail address of the account.
    pub email: String,
    /// What they may do.
    pub role: Role,
}

/// Changes a member's role.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateMember {
    /// What they may do from now on.
    pub role: Role,
}

/// A project: a git repository with runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Project {
    /// The id.
    pub id: ProjectId,
    /// The organisation's name in addresses.
    pub org: Slug,
    /// The name in addresses.
    pub slug: Slug,
    /// One line about it; may be empty.
    pub description: String,
    /// The settings.
    pub settings: ProjectSettings,
    /// Where to push to and fetch from.
    pub clone_url: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// The newest run, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_run: Option<RunSummary>,
    /// What the one who asks may do here.
    pub allowed: Vec<Action>,
}

words! {
    /// What jobs may reach.
    NetworkPolicy {
        /// Nothing.
        Off = "off",
        /// The hosts of a list, as far as they are public.
        AllowList = "allow_list",
        /// Public addresses.
        Internet = "internet",
    }
}

/// A project's settings. Every key has a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectSettings {
    /// The branch that a clone checks out. Default `main`.
    pub default_branch: String,
    /// Branches whose pushes make a run: glob patterns, `*` matching also `/`. Default `["*"]`.
    pub trigger_branches: Vec<String>,
    /// Tags whose pushes make a run: glob patterns. Default: none.
    pub trigger_tags: Vec<String>,
    /// Refs that accept neither force pushes nor deletion: glob patterns on the full
    /// ref name. Default `["refs/heads/main"]`.
    pub protected_refs: Vec<String>,
    /// Whether a push cancels the queued runs of older commits of the same branch. Default yes.
    pub cancel_superseded: bool,
    /// Wall-clock limit of one job, in minutes, 1 to 1440. Default 60.
    pub timeout_minutes: u32,
    /// Memory of a machine, in MiB, 256 to 65536. Default 2048.
    pub memory_mib: u32,
    /// Processors of a machine, 1 to 64. Default 2.
    pub cpus: u32,
    /// Scratch disk of a machine, in MiB, 256 to 1048576. Default 8192.
    pub disk_mib: u32,
    /// The label that a runner must have to be given this project's jobs; empty: any runner
    /// does, and the server itself. Default: empty.
    pub runner_label: String,
    /// What jobs may reach. Default `internet`.
    pub network: NetworkPolicy,
    /// The hosts of an allow-list: `example.org`, `*.example.org` for all names below it, or an
    /// address; with a port (`example.org:8443`), or without one, which means 80 and 443.
    /// Default: none.
    pub network_hosts: Vec<String>,
}

impl Default for ProjectSettings {
    fn default() -> Self {
        Self {
            default_branch: "main".to_owned(),
            trigger_branches: vec!["*".to_owned()],
            trigger_tags: Vec::new(),
            protected_refs: vec!["refs/heads/main".to_owned()],
            cancel_superseded: true,
            timeout_minutes: 60,
            memory_mib: 2048,
            cpus: 2,
            disk_mib: 8192,
            runner_label: String::new(),
            network: NetworkPolicy::Internet,
            network_hosts: Vec::new(),
        }
    }
}

/// Creates a project with an empty repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateProject {
    /// The name in addresses.
    pub slug: Slug,
    /// One line about it.
    #[serde(default)]
    pub description: String,
    /// The settings; defaults when absent.
    #[serde(default)]
    pub settings: ProjectSettings,
}

/// Changes a project. Absent fields stay as they are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateProject {
    /// The new description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// All settings, replacing the old ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<ProjectSettings>,
}
