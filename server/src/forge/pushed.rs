//! From refs that changed to runs.
//!
//! There is one way only: compare the repository with the table `refs`, and in
//! one transaction remember what is new and make the runs for it. After a push
//! this happens before git's client gets its last byte; after a crash in
//! between it happens at the next start. Either way each change of a ref makes
//! its run once, since the table says what was made already.

use std::collections::{BTreeMap, HashMap};

use devenv_cloud_api::{
    ids::{ProjectId, UserId},
    runs::{Commit, Trigger},
};

use super::{CommitInfo, ForgeError, Repository, commits, git, repository, settings, store};
use crate::{
    app::AppParts,
    runs::{self, NewRun, RunError},
};

/// What a run says that had nothing to do.
pub const NO_DEVENV_NIX: &str = "there is no devenv.nix at the root of this commit, so there was nothing to run. \
     Add one (for example `{ pkgs, ... }: { enterTest = \"echo it works\"; }`) and push again";

/// Who pushed, and what they asked for.
#[derive(Clone, Debug)]
pub struct Pusher {
    /// For people.
    pub name: String,
    /// Their account, where it is known.
    pub user: Option<UserId>,
    /// The push options (`git push -o …`).
    pub options: Vec<String>,
    /// The refs that were pushed, with what they shall point at. Empty: all
    /// refs that have changed, whoever pushed them.
    pub refs: Vec<(String, String)>,
}

impl Pusher {
    /// For refs that changed while nobody of us was looking.
    fn unknown() -> Self {
        Self {
            name: "a push before the server restarted".to_owned(),
            user: None,
            options: Vec::new(),
            refs: Vec::new(),
        }
    }
}

/// A ref in the repository.
struct Ref {
    /// What it points at: a commit, or an annotated tag.
    object: String,
    /// The commit behind it.
    commit: String,
}

async fn read_refs(repository: &Repository) -> Result<BTreeMap<String, Ref>, ForgeError> {
    let mut command = git::command(&repository.path, &[]);
    command.args([
        "for-each-ref",
        "--format=%(refname) %(objectname) %(*objectname)",
        "refs/heads",
        "refs/tags",
    ]);
    let output = repository::run("for-each-ref", command).await?;
    Ok(String::from_utf8_lossy(&output)
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (name, object) = (words.next()?, words.next()?);
            let commit = words.next().filter(|word| !word.is_empty()).unwrap_or(object);
            Some((name.to_owned(), Ref { object: object.to_owned(), commit: commit.to_owned() }))
        })
        .collect())
}

/// Why a message or a push option keeps a commit from making a run.
fn skip_word(info: &CommitInfo, pusher: &Pusher) -> Option<&'static str> {
    if pusher.options.iter().any(|option| option == "ci.skip") {
        return Some("the push option ci.skip was given");
    }
    let message = info.message.to_lowercase();
    ["[skip ci]", "[ci skip]", "[no ci]"]
        .iter()
        .any(|word| message.contains(word))
        .then_some("the commit's message says [skip ci]")
}

/// Compares a project's refs with what we last saw, makes the runs for what is
/// new, and gives the lines that the pusher is to read.
///
/// # Errors
/// When git or the database says no; then nothing is remembered, and the next
/// comparison finds the same.
pub async fn refs_changed(
    app: &AppParts,
    project: ProjectId,
    pusher: &Pusher,
) -> Result<Vec<String>, RunError> {
    // Git has stored what was pushed; what follows is already time that people wait.
    let accepted = app.clock.now();
    // Two that compare at once could remember an older state over a newer one.
    let _alone = app.forge.locks.lock(project).await;
    let repository = Repository::of(app, project);
    if !repository.exists() {
        return Ok(Vec::new());
    }
    let now_there = read_refs(&repository).await?;
    let mut tx = app.db.begin().await?;
    let Some((settings, place)) = store::lock_project(&mut tx, project).await? else {
        return Ok(Vec::new());
    };
    let known = store::refs(&mut tx, project).await?;
    // What somebody else has pushed at the same moment is theirs to be told.
    let own = |name: &String| pusher.refs.is_empty() || pusher.refs.iter().any(|(pushed, _)| pushed == name);
    let changed: Vec<(&String, &Ref)> =
        now_there.iter().filter(|(name, at)| known.get(*name) != Some(&at.object) && own(name)).collect();
    let gone: Vec<&String> =
        known.keys().filter(|name| !now_there.contains_key(*name) && own(name)).collect();
    let mut lines = made_already(app, &mut tx, project, &place, pusher, &known).await?;
    if changed.is_empty() && gone.is_empty() {
        return Ok(lines);
    }
    let now = app.clock.now();
    for name in gone {
        store::delete_ref(&mut tx, project, name).await?;
    }
    let wanted: Vec<(&String, &Ref)> =
        changed.iter().copied().filter(|(name, _)| settings::triggers(&settings, name)).collect();
    let infos = infos(&repository, &wanted).await?;
    for (name, at) in &changed {
        store::put_ref(&mut tx, project, name, &at.object, now).await?;
    }
    for (name, at) in &wanted {
        // A tag may point at what is no commit; that is nothing to run.
        let Some(info) = infos.get(&at.commit) else { continue };
        if let Some(why) = skip_word(info, pusher) {
            lines.push(format!("no run for {}: {why}", short(name)));
            continue;
        }
        let new = NewRun {
            project,
            commit: Commit { git_ref: (*name).clone(), ..info.commit.clone() },
            trigger: Trigger::Push,
            triggered_by: pusher.name.clone(),
            user: pusher.user,
            accepted_at: (!pusher.refs.is_empty()).then_some(accepted),
            skip: (!info.has_devenv_nix).then(|| NO_DEVENV_NIX.to_owned()),
        };
        let (_, number) = runs::create(app, &mut tx, &new).await?;
        let url = app.url(&format!("{place}/runs/{number}"));
        lines.push(if new.skip.is_some() {
            format!("run {number} skipped, there is no devenv.nix: {url}")
        } else {
            format!("run {number}: {url}")
        });
    }
    if wanted.is_empty() && !changed.is_empty() {
        lines.push(format!(
            "no run: the project's trigger settings name none of these refs ({})",
            app.url(&format!("{place}/settings/triggers"))
        ));
    }
    tx.commit().await?;
    Ok(lines)
}

/// Runs for what was pushed that somebody else's comparison has made: of two
/// who push the same ref in a row, the first may already see the second's
/// commit. The second hears of their run all the same.
async fn made_already(
    app: &AppParts,
    tx: &mut crate::db::Tx,
    project: ProjectId,
    place: &str,
    pusher: &Pusher,
    known: &HashMap<String, String>,
) -> Result<Vec<String>, RunError> {
    let mut lines = Vec::new();
    for (name, sha) in pusher.refs.iter().filter(|(name, sha)| known.get(name) == Some(sha)) {
        if let Some(number) = runs::newest_at(tx, project, name, sha).await? {
            lines.push(format!("run {number}: {}", app.url(&format!("{place}/runs/{number}"))));
        }
    }
    Ok(lines)
}

fn short(name: &str) -> &str {
    name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/")).unwrap_or(name)
}

async fn infos(
    repository: &Repository,
    wanted: &[(&String, &Ref)],
) -> Result<HashMap<String, CommitInfo>, ForgeError> {
    let mut shas: Vec<String> = wanted.iter().map(|(_, at)| at.commit.clone()).collect();
    shas.sort();
    shas.dedup();
    let infos = commits::read_commits(repository, &shas).await?;
    Ok(shas.into_iter().zip(infos).filter_map(|(sha, info)| Some((sha, info?))).collect())
}

/// Compares the refs of all projects with what we last saw, and makes the runs
/// for what is new: what a push left behind whose server was killed before it
/// could make them.
///
/// # Errors
/// When the list of projects cannot be read. What goes wrong with one project
/// is logged and does not keep the others from their turn.
pub async fn reconcile_refs_once(app: &AppParts) -> Result<(), RunError> {
    for project in store::projects(&app.db).await? {
        if app.shutdown.is_cancelled() {
            break;
        }
        match refs_changed(app, project, &Pusher::unknown()).await {
            Ok(lines) if lines.is_empty() => {}
            Ok(lines) => {
                tracing::info!(%project, runs = lines.join("; "), "made what a push had left behind")
            }
            Err(error) => tracing::error!(%project, %error, "cannot compare refs with the repository"),
        }
    }
    Ok(())
}
