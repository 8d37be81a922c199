//! What we want to know of a commit, asked of one `git cat-file` for all.

use std::process::Stdio;

use devenv_cloud_api::runs::Commit;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::{
    ForgeError, Repository,
    git::{self, Group},
    repository::io,
};

/// A commit, and what decides whether there is anything to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// The commit; its ref is for the caller to fill in.
    pub commit: Commit,
    /// Its whole message.
    pub message: String,
    /// Whether it has a `devenv.nix` at its root.
    pub has_devenv_nix: bool,
}

/// A commit's object is read up to here; what is longer has no message for people.
const LONGEST: usize = 1 << 20;

/// Reads commits by their full object names, in the same order. `None` stands
/// for what is not there or is no commit.
///
/// # Errors
/// When git says no.
pub async fn read_commits(
    repository: &Repository,
    shas: &[String],
) -> Result<Vec<Option<CommitInfo>>, ForgeError> {
    const WHAT: &str = "cannot talk to git cat-file";
    if shas.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = git::command(&repository.path, &[]);
    command.args(["cat-file", "--batch-command"]).stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(ForgeError::NoGit)?;
    let mut group = Group::of(&child);
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(ForgeError::Git { command: "cat-file", message: "it has no input".to_owned() });
    };
    let mut stdout = BufReader::new(stdout);
    let mut commits = Vec::with_capacity(shas.len());
    for sha in shas {
        // One question at a time: two pipes that both are full would wait for each other.
        let question = format!("info {sha}:devenv.nix\ninfo {sha}\ncontents {sha}\n");
        stdin.write_all(question.as_bytes()).await.map_err(io(WHAT))?;
        stdin.flush().await.map_err(io(WHAT))?;
        let devenv_nix = header(&mut stdout).await?;
        let has_devenv_nix = devenv_nix.is_some_and(|(kind, _)| kind == "blob");
        let is_commit = header(&mut stdout).await?.is_some_and(|(kind, _)| kind == "commit");
        let Some((_, size)) = header(&mut stdout).await? else {
            commits.push(None);
            continue;
        };
        let mut content = Vec::new();
        let mut object = (&mut stdout).take(size + 1);
        let kept = u64::try_from(LONGEST).unwrap_or(u64::MAX).min(size);
        (&mut object).take(kept).read_to_end(&mut content).await.map_err(io(WHAT))?;
        tokio::io::copy(&mut object, &mut tokio::io::sink()).await.map_err(io(WHAT))?;
        commits.push(is_commit.then(|| parse(sha, &content, has_devenv_nix)));
    }
    drop(stdin);
    child.wait().await.map_err(io(WHAT))?;
    group.ended();
    Ok(commits)
}

/// `<sha> <kind> <size>`, or something else when it is not there.
async fn header(
    out: &mut (impl tokio::io::AsyncBufRead + Unpin),
) -> Result<Option<(String, u64)>, ForgeError> {
    let mut line = String::new();
    out.take(4096).read_line(&mut line).await.map_err(io("cannot read from git cat-file"))?;
    if !line.ends_with('\n') {
        return Err(ForgeError::Git { command: "cat-file", message: "it ended in the middle".to_owned() });
    }
    let mut words = line.trim_end().rsplit(' ');
    let (size, kind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Ok(size.parse().ok().map(|size| (kind.to_owned(), size)))
}

/// Reads a commit object. Whatever it holds, something readable comes out.
fn parse(sha: &str, content: &[u8], has_devenv_nix: bool) -> CommitInfo {
    let text = String::from_utf8_lossy(content);
    let (head, message) = text.split_once("\n\n").unwrap_or((&text, ""));
    let author = head.lines().find_map(|line| line.strip_prefix("author ")).unwrap_or_default();
    // `Name <address> seconds zone`
    let (name, rest) = author.split_once('<').unwrap_or((author, ""));
    let address = rest.split_once('>').map_or("", |(address, _)| address);
    let title = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let clean = |text: &str, most: usize| -> String {
        text.trim().chars().filter(|c| !c.is_control()).take(most).collect()
    };
    CommitInfo {
        commit: Commit {
            sha: sha.to_owned(),
            git_ref: String::new(),
            title: clean(title, 500),
            author: clean(name, 200),
            author_email: clean(address, 200),
        },
        message: message.to_owned(),
        has_devenv_nix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_read() {
        let content = b"tree 123\nparent 456\nauthor Ada L. <ada@example.com> 1700000000 +0100\ncommitter X <x@y> 1 +0000\n\n\nFirst line\n\nmore\n";
        let info = parse("abc", content, true);
        assert_eq!(info.commit.title, "First line");
        assert_eq!(info.commit.author, "Ada L.");
        assert_eq!(info.commit.author_email, "ada@example.com");
    }

    #[test]
    fn a_strange_commit_harms_nobody() {
        for content in [&b""[..], b"author", b"author <", b"\xff\xfe\n\n\xff\x1b[31m", b"author a <b\n\n\0x"]
        {
            let info = parse("abc", content, false);
            assert!(!info.commit.title.contains('\u{1b}') && !info.commit.title.contains('\0'));
        }
    }
}
