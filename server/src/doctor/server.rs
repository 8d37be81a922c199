//! What the server itself needs: room, git, its database.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::{Finding, Host};
use crate::db::{self, DbError, MigrationError};

/// MiB that a job's scratch disk may take, if nothing says otherwise.
const SCRATCH_MIB: u64 = 8192;

pub(super) async fn disk(host: &Host) -> Vec<Finding> {
    let state = nearest(&host.config.server.state_dir);
    let reserve = u64::from(host.config.limits.disk_reserve_mib);
    let mut findings = vec![room("disk", &state, reserve)];
    let cache = nearest(&host.cache);
    if cache != state {
        findings.push(room("disk", &cache, reserve));
    }
    findings
}

/// The directory, or the one above in which it would be made.
fn nearest(directory: &Path) -> PathBuf {
    directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn room(check: &'static str, directory: &Path, reserve: u64) -> Finding {
    let disk = match rustix::fs::statvfs(directory) {
        Ok(disk) => disk,
        Err(error) => {
            let says = format!("cannot ask for the room in {}: {error}", directory.display());
            return Finding::notice(check, says, "set server.state_dir to a directory on a local disk");
        }
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize) >> 20;
    let says = format!("{free} MiB free in {}", directory.display());
    if free < reserve {
        Finding::problem(
            check,
            format!("{says}; {reserve} MiB stay free for the server (limits.disk_reserve_mib)"),
            "free some space",
        )
    } else if free < reserve + SCRATCH_MIB {
        Finding::notice(
            check,
            format!("{says}: a job that fills its scratch disk of {SCRATCH_MIB} MiB fills this one"),
            "free some space, or give jobs a smaller disk (`--disk`, a project's settings)",
        )
    } else {
        Finding::fine(check, says)
    }
}

pub(super) async fn git() -> Vec<Finding> {
    const INSTALL: &str = "run `apt-get install git`";
    let version = match ask("git", &["--version"]).await {
        Ok(version) => version,
        Err(why) => return vec![Finding::problem("git", format!("cannot be run: {why}"), INSTALL)],
    };
    let number = version.trim_start_matches("git version ").to_owned();
    let mut findings = vec![match at_least(&number, (2, 31)) {
        true => Finding::fine("git", number),
        false => Finding::problem("git", format!("{number} is too old"), "install git 2.31 or newer"),
    }];
    let backend = ask("git", &["--exec-path"]).await.map(|path| Path::new(&path).join("git-http-backend"));
    if !backend.is_ok_and(|path| path.is_file()) {
        findings.push(Finding::problem(
            "git",
            "there is no git http-backend, so nobody can push to the server",
            INSTALL,
        ));
    }
    findings
}

fn at_least(version: &str, (major, minor): (u32, u32)) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

async fn ask(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

pub(super) async fn database(host: &Host) -> Vec<Finding> {
    let address = host.config.database.url.reveal();
    if let Some(path) = address.strip_prefix("sqlite:") {
        let path = Path::new(path.trim_start_matches("//"));
        if !path.exists() {
            let says = format!("none yet: `devenv-cloud serve` makes {}", path.display());
            return vec![Finding::fine("database", says)];
        }
    }
    vec![match db::examine(address).await {
        Ok(found) => {
            let engine = match found.engine {
                db::Engine::Sqlite => "SQLite",
                db::Engine::Postgres => "PostgreSQL",
            };
            match found.schema {
                None => Finding::fine("database", format!("{engine}, empty: `devenv-cloud serve` fills it")),
                Some(schema) if schema == found.known => {
                    Finding::fine("database", format!("{engine}, schema version {schema}"))
                }
                Some(schema) => Finding::fine(
                    "database",
                    format!(
                        "{engine}, schema version {schema}: the next start of the server brings it to {}",
                        found.known
                    ),
                ),
            }
        }
        Err(DbError::Migration(MigrationError::Newer { found, known })) => Finding::problem(
            "database",
            format!("schema version {found} is newer than this program, which knows {known}"),
            "install the newer devenv-cloud again, or restore the backup from before the upgrade",
        ),
        Err(DbError::Address(_)) => Finding::problem(
            "database",
            "database.url is no database address",
            "set database.url to `sqlite:PATH` or `postgres://USER@HOST/NAME`",
        ),
        Err(error) => Finding::problem(
            "database",
            one_line(&format!("{:#}", anyhow::Error::from(error))),
            "start it, or set database.url to one that answers",
        ),
    }]
}

fn one_line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[test]
    fn room_is_compared_with_what_shall_stay_free() {
        let directory = tempfile::tempdir().unwrap();
        let finding = room("disk", directory.path(), u64::from(u32::MAX));
        assert!(
            finding.verdict == Verdict::Problem && finding.says.contains("disk_reserve_mib"),
            "{finding:?}"
        );
        let inside = directory.path().join("not/yet");
        assert_eq!(nearest(&inside), directory.path());
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, new_enough) in
            [("2.39.5", true), ("2.31.0", true), ("2.9.1", false), ("3.0", true), ("?", false)]
        {
            assert_eq!(at_least(version, (2, 31)), new_enough, "{version}");
        }
    }

    #[tokio::test]
    async fn a_database_is_looked_at_and_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let address = format!("sqlite:{}", directory.path().join("a.db").display());
        assert!(db::examine(&address).await.is_err(), "it is not made");
        let db = db::Db::connect(&address).await.unwrap();
        db.close().await;
        let found = db::examine(&address).await.unwrap();
        assert_eq!(found.schema, Some(found.known));
    }
}
