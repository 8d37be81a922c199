//! The host's programs that building an image calls.

use std::{
    env,
    ffi::OsStr,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use super::ImageError;

/// Every program that a build may need, with the Debian package that has it.
const TOOLS: [(&str, &str); 7] = [
    ("mmdebstrap", "mmdebstrap"),
    ("mkfs.erofs", "erofs-utils"),
    ("mkfs.ext4", "e2fsprogs"),
    ("ldconfig", "libc-bin"),
    ("lz4", "lz4"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

/// Where programs are looked for: `PATH`, and the places that Debian keeps out
/// of an ordinary user's `PATH`.
fn search_path() -> Vec<PathBuf> {
    let mut path: Vec<_> = env::var_os("PATH").map(|p| env::split_paths(&p).collect()).unwrap_or_default();
    path.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    path
}

/// A program's full path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    search_path().into_iter().map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// Refuses once, and names all that is missing at once.
pub(super) fn require_all() -> Result<(), ImageError> {
    let missing: Vec<_> = TOOLS.into_iter().filter(|(program, _)| find(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(ImageError::ToolsMissing {
        programs: missing.iter().map(|(program, _)| *program).collect::<Vec<_>>().join(", "),
        packages: missing.iter().map(|(_, package)| *package).collect::<Vec<_>>().join(" "),
    })
}

/// A command for one of the host's programs, with nothing of our terminal.
pub(super) fn command(program: &str) -> Command {
    let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Ok(path) = env::join_paths(search_path()) {
        command.env("PATH", path);
    }
    // Messages that we show, and sort orders that we hash, in one language.
    command.env("LC_ALL", "C.UTF-8");
    command
}

/// Runs a program to its end; its words are the error.
pub(crate) fn run<A: AsRef<OsStr>>(program: &'static str, args: &[A]) -> Result<Vec<u8>, ImageError> {
    let output =
        command(program).args(args).output().map_err(|source| ImageError::Spawn { program, source })?;
    finish(program, output)
}

/// Sends bytes through a program.
pub(super) fn filter(program: &'static str, args: &[&str], input: Vec<u8>) -> Result<Vec<u8>, ImageError> {
    let mut child = command(program)
        .args(args)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|source| ImageError::Spawn { program, source })?;
    let stdin = child.stdin.take();
    // Written from another thread, because both pipes are short. A program that
    // ends before it has read everything says why on its standard error.
    let writer = thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
    let output = child.wait_with_output().map_err(|source| ImageError::Spawn { program, source })?;
    drop(writer.join());
    finish(program, output)
}

fn finish(program: &'static str, output: std::process::Output) -> Result<Vec<u8>, ImageError> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = words.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(12)..].join("\n");
    Err(ImageError::Tool { program, status: output.status, words: tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_through_a_program_whatever_their_size() {
        let big = vec![42; 3 << 20];
        assert_eq!(filter("cat", &[], big.clone()).unwrap(), big);
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let error = run("sh", &["-c", "echo the reason >&2; exit 3"]).unwrap_err().to_string();
        assert!(error.contains("the reason") && error.contains('3'), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run("no-such-program-anywhere", &[""; 0]).unwrap_err().to_string();
        assert!(error.contains("no-such-program-anywhere"), "{error}");
    }
}
