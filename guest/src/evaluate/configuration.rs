//! What the built-in evaluator says: the project's configuration as plain data.
//! `guest/nix/README.md` describes the shape.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The evaluated `devenv.nix`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Configuration {
    /// The shape's version.
    pub format: u32,
    /// Environment of everything that runs.
    pub env: BTreeMap<String, String>,
    /// Bash, run before all tasks.
    pub enter_shell: String,
    /// Bash, run after all tasks.
    pub enter_test: String,
    /// Folders with a `bin` for PATH.
    pub packages: Vec<String>,
    /// Derivations to be built before anything runs.
    pub derivations: Vec<String>,
    /// By name.
    pub tasks: BTreeMap<String, Task>,
    /// By name.
    pub scripts: BTreeMap<String, Script>,
    /// By name.
    pub processes: BTreeMap<String, Process>,
    /// By name: a path, or a derivation that must be built.
    pub outputs: BTreeMap<String, Output>,
    /// By name: those that are enabled.
    pub git_hooks: BTreeMap<String, Hook>,
    /// Hooks check what changed since this commit, if it is given.
    pub git_hooks_from: Option<String>,
    /// Hooks check what changed up to this commit.
    pub git_hooks_to: Option<String>,
    /// What to tell the user.
    pub warnings: Vec<String>,
    /// What the project needs and the image cannot give.
    pub missing: Vec<Missing>,
    /// In the order in which they were applied.
    pub active_profiles: Vec<String>,
}

/// A task.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Task {
    /// `oneshot` or `process`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it runs.
    pub exec: Option<String>,
    /// Bash: when it succeeds, there is nothing to do.
    pub status: Option<String>,
    /// What comes before it.
    pub after: Vec<String>,
    /// What comes after it.
    pub before: Vec<String>,
    /// Where it runs, relative to the source.
    pub cwd: Option<String>,
    /// In words.
    pub description: Option<String>,
    /// What it finds in `DEVENV_TASK_INPUT`.
    pub input: Value,
    /// Variables that it hands on.
    pub exports: Vec<String>,
    /// Its own environment.
    pub env: BTreeMap<String, String>,
    /// What runs `exec`; bash when absent.
    pub interpreter: Option<String>,
}

/// A command that the project defines.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Script {
    /// What it runs.
    pub exec: String,
    /// What runs it; bash when absent.
    pub interpreter: Option<String>,
    /// Folders with a `bin` for its PATH.
    pub packages: Vec<String>,
}

/// Something that runs while others do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Process {
    /// What it runs.
    pub exec: String,
    /// Where, relative to the source.
    pub cwd: Option<String>,
    /// What comes before it.
    pub after: Vec<String>,
    /// What comes after it.
    pub before: Vec<String>,
    /// Its own environment.
    pub env: BTreeMap<String, String>,
}

/// Something to keep.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Output {
    /// It is there.
    Path(String),
    /// It must be built.
    Derivation {
        /// The derivation.
        #[serde(rename = "drvPath")]
        derivation: String,
        /// Where it will be.
        path: String,
    },
}

/// A check of files.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hook {
    /// In words.
    pub name: String,
    /// The command.
    pub entry: Option<String>,
    /// Its arguments before the files.
    pub args: Vec<String>,
    /// Files whose path matches this regular expression; all when empty.
    pub files: String,
    /// Kinds of files, none of which may fit.
    pub exclude_types: Vec<String>,
    /// But none that matches one of these.
    pub excludes: Vec<String>,
    /// Kinds of files, all of which must fit.
    pub types: Vec<String>,
    /// Kinds of files, one of which must fit.
    pub types_or: Vec<String>,
    /// Whether files are its last arguments.
    pub pass_filenames: bool,
    /// Whether it runs when no file fits.
    pub always_run: bool,
}

/// Something that the project needs and the image cannot give.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Missing {
    /// As the project calls it: `pkgs.hello`, `services.postgres`.
    pub name: String,
    /// The options that use it.
    pub used_by: Vec<String>,
    /// File and line, if known.
    pub place: Option<String>,
    /// What the image has under nearly this name: a slip of the pen, perhaps.
    pub similar: Option<String>,
}
