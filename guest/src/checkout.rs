//! The source: a packfile from the host becomes a real, shallow repository with
//! exactly one commit, checked out.
//!
//! The repository is written by hand where Git's format allows it, because each
//! program that is not started is a tenth of a second saved in an emulated
//! machine. What remains for Git: indexing the pack and checking files out.

use std::{
    fs, io,
    io::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use crate::{
    ahead::Ahead,
    command::{Ended, Launch},
    evaluate::into_span,
    job::{Context, End},
    protocol::{Level, Stream},
    recorder::Span,
    world::World,
};

/// Makes the repository and its working tree. `source` yields the packfile and
/// ends with it.
///
/// # Errors
/// How the job ends: a source that cannot be unpacked is the system's fault.
pub fn check_out(context: &Context, span: &Arc<Span>, source: mpsc::Receiver<Vec<u8>>) -> Result<(), End> {
    let job = &context.job;
    span.note("vcs.ref.head.revision", &job.commit);
    span.note("vcs.ref.head.name", &job.git_ref);
    write_repository(context).map_err(|error| {
        End::error(format!("cannot make the repository in {}: {error}", context.world.source.display()))
    })?;
    let bytes = index_pack(context, span, source)?;
    span.note("vcs.source.bytes", bytes.to_string());
    let world = &context.world;
    let running = match world.ahead.as_ref().and_then(Ahead::check_out) {
        Some(started) => started.register(&context.canceller)?,
        None => check_out_head(world).start(world, &context.canceller)?,
    };
    finish(context, running, span, "cannot check the commit out")?;
    warn_of_what_is_not_here(context, span);
    Ok(())
}

/// `git init`: enough for Git to take it for a repository.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn furnish(world: &World) -> io::Result<()> {
    let git = world.source.join(".git");
    world.make_dir(&world.source)?;
    for folder in ["", "objects", "objects/pack", "objects/info", "refs", "refs/heads", "refs/tags", "info"] {
        world.make_dir(&git.join(folder))?;
    }
    for (name, content) in [("HEAD", "ref: refs/heads/main\n"), ("config", CORE)] {
        let file = git.join(name);
        fs::write(&file, content)?;
        world.give(&file)?;
    }
    Ok(())
}

/// The repository: a shallow boundary, one branch and one remote.
fn write_repository(context: &Context) -> io::Result<()> {
    let world = &context.world;
    let job = &context.job;
    if world.ahead.is_none() {
        furnish(world)?;
    }
    let git = world.source.join(".git");
    let write = |name: &str, content: &str| -> io::Result<()> {
        let file = git.join(name);
        let mut folder = file.parent();
        let mut missing = Vec::new();
        while let Some(path) = folder.filter(|path| !path.exists()) {
            missing.push(path.to_owned());
            folder = path.parent();
        }
        for path in missing.iter().rev() {
            world.make_dir(path)?;
        }
        fs::write(&file, content)?;
        world.give(&file)
    };
    let line = format!("{}\n", job.commit);
    write("shallow", &line)?;
    // A branch can be on HEAD; a tag or anything else leaves it detached.
    if job.git_ref.starts_with("refs/heads/") {
        write("HEAD", &format!("ref: {}\n", job.git_ref))?;
    } else {
        write("HEAD", &line)?;
    }
    if job.git_ref.starts_with("refs/") {
        write(&job.git_ref, &line)?;
    }
    let remote_branch = job.git_ref.strip_prefix("refs/heads/");
    if let Some(branch) = remote_branch {
        write(&format!("refs/remotes/origin/{branch}"), &line)?;
    }
    write("config", &config(&job.commit, &job.origin, remote_branch))
}

/// Object names of SHA-256 repositories have 64 digits.
fn is_sha256(commit: &str) -> bool {
    commit.len() == 64
}

/// The settings of every repository.
const CORE: &str =
    "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n";

fn config(commit: &str, origin: &str, branch: Option<&str>) -> String {
    let mut text = CORE.to_owned();
    if is_sha256(commit) {
        // The last one counts.
        text.push_str("\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = sha256\n");
    }
    text.push_str(&format!(
        "[remote \"origin\"]\n\turl = {}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
        quoted(origin)
    ));
    if let Some(branch) = branch {
        text.push_str(&format!(
            "[branch {}]\n\tremote = origin\n\tmerge = {}\n",
            quoted(branch),
            quoted(&format!("refs/heads/{branch}"))
        ));
    }
    text
}

/// A value as git-config quotes it. Control characters cannot be in a ref or URL.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for character in value.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
    text
}

/// Streams the pack into Git, which verifies it while it comes.
fn index_pack(context: &Context, span: &Arc<Span>, source: mpsc::Receiver<Vec<u8>>) -> Result<u64, End> {
    let Context { world, job, canceller, .. } = context;
    // The one that waits has seen a repository with names of the usual length.
    let waiting = world.ahead.as_ref().filter(|_| !is_sha256(&job.commit)).and_then(Ahead::unpack);
    let mut running = match waiting {
        Some(started) => started.register(canceller)?,
        None => unpack(world).start(world, canceller)?,
    };
    let input = running.take_input();
    let feed = move || {
        let mut total = 0;
        let mut input = input;
        for chunk in source {
            total += chunk.len() as u64;
            // Git has ended: the rest is read and forgotten, its words say why.
            if input.as_mut().is_some_and(|input| input.write_all(&chunk).is_err()) {
                input = None;
            }
        }
        total
    };
    let feeder = std::thread::spawn(feed);
    let ended = finish(context, running, span, "cannot unpack the source")?;
    if ended.is_success() { feeder.join().map_err(|_| End::error("cannot unpack the source")) } else { Ok(0) }
}

/// Unpacks what comes on its standard input.
pub(crate) fn unpack(world: &World) -> Launch {
    let launch = Launch::new(world, "git").args(["index-pack", "--stdin"]);
    Launch { input: true, ..launch }
}

/// The same as a checkout, without hooks and without words.
pub(crate) fn check_out_head(world: &World) -> Launch {
    Launch::new(world, "git").args(["read-tree", "--reset", "-u", "HEAD"])
}

fn finish(
    context: &Context,
    running: crate::command::Running,
    span: &Arc<Span>,
    problem: &str,
) -> Result<Ended, End> {
    let last = Arc::new(Mutex::new(String::new()));
    let mut lines = into_span(span, Stream::Stderr);
    let keep = last.clone();
    let stderr = move |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        if let Some(line) = text.lines().rfind(|line| !line.trim().is_empty()) {
            line.clone_into(&mut keep.lock().unwrap_or_else(PoisonError::into_inner));
        }
        lines(bytes);
    };
    // What goes to standard output (the pack's name) is of no interest.
    let ended = running.finish(|_| {}, stderr).map_err(|error| End::error(format!("{problem}: {error}")))?;
    if context.canceller.is_cancelled() {
        return Err(End::cancelled());
    }
    if ended.is_success() {
        return Ok(ended);
    }
    let said = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let said = if said.is_empty() { ended.in_words(None) } else { said };
    if said.contains("No space left on device") {
        return Err(End::failure(format!("the source does not fit the machine's disk: git: {said}")));
    }
    Err(End { exit_status: Some(ended.status), ..End::error(format!("{problem}: git: {said}")) })
}

/// Submodules and large files need a network and credentials: they are named,
/// so that nobody wonders why a folder is empty.
fn warn_of_what_is_not_here(context: &Context, span: &Span) {
    let root = &context.world.source;
    if contains(&root.join(".gitmodules"), "path") {
        let text = "Submodules are not fetched: their folders are empty.";
        span.message(Level::Warning, text, Some((".gitmodules".to_owned(), None)));
    }
    if contains(&root.join(".gitattributes"), "filter=lfs") {
        let text = "Git LFS files are not fetched: they are pointers instead of content.";
        span.message(Level::Warning, text, Some((".gitattributes".to_owned(), None)));
    }
}

fn contains(file: &Path, what: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.contains(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_values_cannot_break_out() {
        assert_eq!(quoted("https://x/a\"\n[b]"), r#""https://x/a\"[b]""#);
        assert!(config(&"a".repeat(64), "u", None).contains("objectformat = sha256"));
    }
}
