//! Roles and actions. Which role may do what is decided on the server, in
//! `access.rs`, and nowhere else; the pages ask the API for the answers.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[doc = $vdoc])* #[serde(rename = $text)] $variant),* }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word on the wire and in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        // Not derived: the derive does not see a `rename` that comes out of a macro.
        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some(concat!($($doc, "\n",)* $("\n- `", $text, "`:", $($vdoc,)*)*).trim()))
                    .enum_values(Some([$($text),*]))
                    .into()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::permissions::UnknownWord;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                match s {
                    $($text => Ok(Self::$variant),)*
                    _ => Err($crate::permissions::UnknownWord { word: s.to_owned(), known: &[$($text),*] }),
                }
            }
        }
    };
}
pub(crate) use words;

/// A word that is none of the known ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not one of {}", known.join(", "))]
pub struct UnknownWord {
    /// What was given.
    pub word: String,
    /// What could have been given.
    pub known: &'static [&'static str],
}

words! {
    /// What a member may do in an organisation. Each role includes the ones below it.
    Role {
        /// Reads everything of the organisation.
        Viewer = "viewer",
        /// Pushes, starts, retries and cancels.
        Member = "member",
        /// Manages projects and members.
        Admin = "admin",
        /// Everything, including the end of the organisation.
        Owner = "owner",
    }
}

words! {
    /// What a token may be used for. A token never may more than its owner.
    Scope {
        /// Read what the owner can read, fetch over git.
        Read = "read",
        /// Push over git, start, retry and cancel runs.
        Write = "write",
        /// Manage projects, members and settings.
        Admin = "admin",
    }
}

words! {
    /// Something that a principal wants to do to a resource.
    Action {
        /// Create an organisation on this instance.
        CreateOrg = "org.create",
        /// See that an organisation exists, and its projects.
        ReadOrg = "org.read",
        /// Rename an organisation.
        UpdateOrg = "org.update",
        /// Delete an organisation with all that it has.
        DeleteOrg = "org.delete",
        /// See who is a member.
        ReadMembers = "members.read",
        /// Add, change and remove members.
        ManageMembers = "members.manage",
        /// See what happened around an organisation: its audit log, its invitations.
        ReadAudit = "audit.read",
        /// Create a project.
        CreateProject = "project.create",
        /// See a project, its runs, traces and logs; fetch its source.
        ReadProject = "project.read",
        /// Change a project's settings.
        UpdateProject = "project.update",
        /// Delete a project with all that it has.
        DeleteProject = "project.delete",
        /// Push commits.
        PushSource = "source.push",
        /// Start, retry and cancel runs.
        OperateRuns = "runs.operate",
        /// See the tokens that are limited to a project, whosever they are.
        ManageProjectTokens = "project.tokens",
        /// Change one's own account, its tokens and sessions.
        ManageOwnAccount = "account.manage",
        /// See an organisation's runners and what they execute.
        ReadRunners = "runners.read",
        /// Add, drain and revoke an organisation's runners.
        ManageRunners = "runners.manage",
        /// Take jobs and report on them, as the runner that one is.
        ExecuteJobs = "jobs.execute",
        /// Administrate the instance.
        AdministrateInstance = "instance.administrate",
    }
}
