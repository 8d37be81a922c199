//! Machines by QEMU: from the pool if one waits, restored if there is a
//! template, else booted.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::json;
use tokio::time::timeout;

use super::{
    Machine, MachineError, MachineSpec, Machines, check,
    parts::{Parts, Start},
    pool::{self, Found, Pool},
    shelf, sweep,
};
use crate::{config, executor::Status};

/// How long killed machines may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// Where things are and what is wished for.
#[derive(Clone, Debug)]
pub struct MachineSettings {
    /// The directory of images.
    pub images: PathBuf,
    /// The server's state directory.
    pub state: PathBuf,
    /// The QEMU program: a name or a path.
    pub qemu: String,
    /// `auto`, `kvm` or `tcg`.
    pub accelerator: String,
    /// `auto`, or `strict`: without all that isolates machines there are none.
    pub isolation: String,
    /// Whether machines are restored from templates; else every one is booted.
    pub templates: bool,
    /// How many machines wait for jobs, ready to go.
    pub pool: u32,
    /// MiB of memory that all machines and templates may have together. Machines for
    /// jobs are made in any case: whoever hands jobs out has weighed them. What is
    /// ready beside them gives way.
    pub memory_mib: u32,
    /// Whether templates are made in the background. Those that were kept are used
    /// in any case.
    pub background: bool,
}

impl MachineSettings {
    /// As the configuration has them.
    #[must_use]
    pub fn of(config: &config::Executor, state: PathBuf) -> Self {
        Self {
            images: config.image_dir.clone(),
            state,
            qemu: config.qemu.clone(),
            accelerator: config.accelerator.clone(),
            isolation: config.isolation.clone(),
            templates: config.templates,
            pool: config.pool_of(config.slots),
            memory_mib: config.room().memory_mib,
            background: true,
        }
    }

    /// For a single machine: to make a template would take longer than to boot.
    #[must_use]
    pub fn for_one(self) -> Self {
        Self { background: false, pool: 0, ..self }
    }
}

/// Makes a template of the usual size, if there is none, and keeps it: with it,
/// single machines need not be booted.
///
/// # Errors
/// When this host makes no machines.
pub async fn keep_usual_template(settings: MachineSettings) -> Result<(), MachineError> {
    let parts = Parts::new(settings);
    let image = parts.image().await?;
    let key = parts.key(&image, &MachineSpec::usual()).await?;
    if shelf::find(&parts, &image, &key).await?.is_none() {
        pool::make(&parts, &image, &key).await?;
    }
    Ok(())
}

/// Makes machines with QEMU.
#[derive(Debug)]
pub struct QemuMachines {
    parts: Arc<Parts>,
    pool: Arc<Pool>,
}

impl QemuMachines {
    /// Ends what a predecessor left behind, and tries out what this host can do.
    /// What is missing is logged once, and again said by every
    /// [`Machines::machine`] until it is there.
    pub async fn start(settings: MachineSettings) -> Self {
        let pool = Pool::new(usize::try_from(settings.pool).unwrap_or(0), settings.memory_mib);
        let parts = Arc::new(Parts::new(settings));
        let (sweeper, state) = (parts.mark.clone(), parts.settings.state.clone());
        let sweep = move || (sweeper.sweep(), sweeper.sweep_groups(&sweep::remembered_groups(&state)));
        let (machines, groups) = tokio::task::spawn_blocking(sweep).await.unwrap_or_default();
        if (machines, groups) != (0, 0) {
            tracing::warn!(machines, groups, "removed what a previous server left behind");
        }
        match parts.host().await {
            Ok((host, _)) => {
                sweep::remember_groups(&parts.settings.state, &host.isolation.group_directories());
            }
            Err(error) => {
                pool.note(Some(&error));
                tracing::error!("no job can be executed: {error}");
            }
        }
        match parts.image().await {
            Ok(image) => tracing::info!(image = image.id, kernel = image.manifest.kernel, "machine image"),
            Err(error) => {
                pool.note(Some(&error));
                tracing::error!("no job can be executed: {error}");
            }
        }
        if parts.settings.templates && parts.settings.background {
            pool.fill(Arc::downgrade(&parts));
        }
        Self { parts, pool }
    }

    /// Ends every machine, and waits until they are gone.
    pub async fn stop(&self) {
        self.pool.empty().await;
        if timeout(GONE, self.parts.census.nobody()).await.is_err() {
            tracing::error!("machines do not end although they were killed");
        }
    }

    /// Has machines of the usual size made ready before anybody asks for one: that
    /// of a project whose settings nobody has changed.
    pub async fn expect_usual(&self) {
        if !self.parts.settings.templates {
            return;
        }
        let spec = MachineSpec::usual();
        let wanted = async {
            let image = self.parts.image().await?;
            let key = self.parts.key(&image, &spec).await?;
            self.pool.want(&key, &image);
            Ok::<(), MachineError>(())
        };
        // What is missing was logged at the start.
        drop(wanted.await);
    }
}

#[async_trait]
impl Machines for QemuMachines {
    async fn machine(&self, spec: &MachineSpec) -> Result<Machine, MachineError> {
        let machine = self.make(spec).await;
        self.pool.note(machine.as_ref().err());
        machine
    }

    fn status(&self) -> Status {
        self.pool.status()
    }
}

impl QemuMachines {
    async fn make(&self, spec: &MachineSpec) -> Result<Machine, MachineError> {
        let parts = &self.parts;
        parts.host().await?;
        check(spec)?;
        let image = parts.image().await?;
        let found = if parts.settings.templates && !spec.console {
            let key = parts.key(&image, spec).await?;
            match self.pool.take(&key, &image) {
                Found::Nothing => {
                    self.pool.kept(parts, &image, &key).await.map_or(Found::Nothing, Found::Template)
                }
                found => found,
            }
        } else {
            Found::Nothing
        };
        let place = self.pool.occupy(spec.memory_mib);
        let (running, start) = match found {
            Found::Waiting(running) => {
                running.process.hurry();
                running.control.tell("cont", json!({}));
                (running, Start::Pooled)
            }
            Found::Template(template) => (parts.restore(&template, false).await?, Start::OnDemand),
            Found::Nothing => (parts.boot(&image, spec, None).await?, Start::Cold),
        };
        parts.finished(running, place, &image.id, spec, start).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_missing_is_said_by_every_machine() {
        let state = tempfile::tempdir().unwrap();
        let settings = MachineSettings {
            images: state.path().join("images"),
            state: state.path().to_owned(),
            qemu: "no-such-qemu".into(),
            accelerator: "auto".into(),
            isolation: "auto".into(),
            templates: false,
            pool: 0,
            memory_mib: 4096,
            background: false,
        };
        let spec = MachineSpec { cpus: 1, memory_mib: 512, disk_mib: 1024, console: false };
        let machines = QemuMachines::start(settings.clone()).await;
        let words = machines.machine(&spec).await.unwrap_err().to_string();
        assert!(words.contains("apt-get install qemu-system-x86"), "{words}");

        let settings =
            MachineSettings { qemu: "qemu-system-x86_64".into(), accelerator: "tcg".into(), ..settings };
        let machines = QemuMachines::start(settings).await;
        let words = machines.machine(&spec).await.unwrap_err().to_string();
        assert!(words.contains("devenv-cloud image build"), "{words}");
    }
}
