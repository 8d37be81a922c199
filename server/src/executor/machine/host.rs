//! QEMU on this host.

use std::{io, os::unix::net::UnixStream as StdUnixStream, path::PathBuf, sync::Arc, time::Duration};

use tokio::{io::AsyncReadExt as _, process::Command};

use super::{
    MachineError, MachineSpec,
    accelerator::Accelerator,
    blocking,
    command_line::{CommandLine, Memory},
    isolation::Isolation,
    process::Census,
    sweep,
};
use crate::executor::image::tools;

/// QEMU on this host.
#[derive(Debug)]
pub(super) struct Host {
    /// The program's full path.
    pub(super) program: PathBuf,
    /// As it says it itself.
    pub(super) version: String,
    pub(super) major_version: u32,
    /// How it is isolated.
    pub(super) isolation: Arc<Isolation>,
}

impl Host {
    pub(super) async fn find(program: &str) -> Result<Self, MachineError> {
        let path =
            tools::find(program).ok_or_else(|| MachineError::NoQemu { program: program.to_owned() })?;
        let output = Command::new(&path)
            .arg("--version")
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|e| MachineError::io("cannot run", &path, e))?;
        let words = String::from_utf8_lossy(&output.stdout);
        let major_version = major_version(&words)
            .ok_or_else(|| MachineError::Qemu(format!("{} does not say its version", path.display())))?;
        if major_version < 7 {
            return Err(MachineError::Qemu(format!(
                "version {major_version} is too old; 7.2 is the oldest tried"
            )));
        }
        let version = words.lines().next().unwrap_or_default().to_owned();
        let program = path.clone();
        let isolation = blocking(move || Isolation::find(&program)).await;
        let isolation = isolation.map_err(|error| MachineError::NotIsolated(error.to_string()))?;
        Ok(Self { program: path, version, major_version, isolation: Arc::new(isolation) })
    }

    /// Says what isolates machines here, and refuses if that is not enough.
    pub(super) fn check_isolation(&self, wish: &str) -> Result<(), MachineError> {
        if !matches!(wish, "auto" | "strict") {
            return Err(MachineError::UnknownIsolation(wish.to_owned()));
        }
        let missing = self.isolation.missing();
        if missing.is_empty() {
            tracing::info!("machines are isolated by all means: namespaces, hidden files, control groups");
            return Ok(());
        }
        let words = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if wish == "strict" {
            return Err(MachineError::Isolation(words));
        }
        tracing::warn!(
            "machines are less isolated than they could be, since this host does not allow: {words}; \
             `devenv-cloud doctor` says what to do"
        );
        Ok(())
    }

    /// Tries an accelerator: makes a machine with a processor and ends it.
    pub(super) async fn probe(&self, accelerator: &Accelerator) -> Result<(), String> {
        let trial = async {
            let (mut control, control_end) = StdUnixStream::pair()?;
            // Waits in the socket until QEMU reads it.
            io::Write::write_all(&mut control, b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"quit\"}")?;
            let spec = MachineSpec { cpus: 1, memory_mib: 256, disk_mib: 64, console: false };
            let mut line = CommandLine::new(&sweep::probe());
            line.control(control_end);
            line.processor(accelerator, &spec, self, Memory::Own);
            line.add(&["-S"]);
            let mut process = line.launch(self, accelerator, &spec).start(&Census::default()).await?;
            // QEMU wants a reader for its answers.
            let mut control = super::to_async(control)?;
            let mut answers = Vec::new();
            drop(tokio::time::timeout(Duration::from_secs(8), control.read_to_end(&mut answers)).await);
            process.ended().await
        };
        match trial.await {
            Ok(ended) if ended.status == Some(0) => Ok(()),
            Ok(ended) if ended.words.is_empty() => Err(format!("QEMU ended with status {:?}", ended.status)),
            Ok(ended) => Err(last_words(&ended.words)),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn major_version(words: &str) -> Option<u32> {
    let rest = words.split_once("version ")?.1;
    rest.split('.').next()?.parse().ok()
}

/// What QEMU says last, without its warnings.
pub(super) fn last_words(words: &str) -> String {
    let lines: Vec<_> = words.lines().filter(|line| !line.contains(": warning: ")).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(major_version("QEMU emulator version 7.2.22 (Debian 1:7.2)\n"), Some(7));
        assert_eq!(major_version("QEMU emulator version 10.0.13"), Some(10));
        assert_eq!(major_version("something else"), None);
    }

    #[test]
    fn warnings_are_no_last_words() {
        assert_eq!(last_words("q: warning: odd\nq: no such device\n"), "q: no such device");
    }
}
