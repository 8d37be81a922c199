//! Templates on disk, beside the image that they were made from: a server that is
//! started again has its machines at once, and a single local run has one at all.
//!
//! What is kept has proved good; it is looked up by everything that a template
//! depends on, and what does not fit any more is never found. It goes away with
//! its image.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    MachineError, blocking,
    parts::{Key, Parts},
    scratch,
    template::{Template, memory_file, seal, taken_mib},
};
use crate::executor::image::Image;

/// Templates that are kept of one image.
const KEPT: usize = 4;
/// What a folder is called while it is filled.
const UNFINISHED: &str = ".new-";
/// By how much two measurements of the same processor's counter may differ: one
/// in so many.
const TOLERANCE: u64 = 200;

const MEMORY: &str = "memory";
const STATE: &str = "state";
const DISK: &str = "disk";
const LABEL: &str = "label.json";

/// What a template on disk says about itself.
#[derive(Debug, Serialize, Deserialize)]
struct Label {
    /// The size, for people.
    spec: String,
    /// The counter's frequency that its kernel was told.
    khz: Option<u64>,
}

/// Where a template of this kind is, or would be.
async fn place(parts: &Parts, image: &Image, key: &Key) -> Result<PathBuf, MachineError> {
    let (host, accelerator) = parts.host().await?;
    let words = format!("{key:?} {} {}", host.version, accelerator.name());
    let folder = image.dir.join("templates");
    blocking(move || {
        let name = this_program().map(|program| Sha256::digest(format!("{words} {program}")));
        name.map(|name| folder.join(hex::encode(&name[..10]))).map_err(cannot("find", Path::new("templates")))
    })
    .await
}

/// Who we are, and since when this host runs: another program may start QEMU in
/// another way, and another start of the host is another host.
fn this_program() -> io::Result<String> {
    let program = fs::metadata("/proc/self/exe")?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(format!("{} {} {} {}", program.dev(), program.ino(), program.mtime(), boot.trim()))
}

fn cannot(what: &'static str, path: &Path) -> impl Fn(io::Error) -> MachineError {
    let words = format!("cannot {what} {}", path.display());
    move |error| MachineError::Template(format!("{words}: {error}"))
}

/// The template of this kind, if there is one.
pub(super) async fn find(parts: &Parts, image: &Image, key: &Key) -> Result<Option<Template>, MachineError> {
    let folder = place(parts, image, key).await?;
    let khz = parts.khz().await?;
    let (image, key) = (image.clone(), key.clone());
    blocking(move || {
        // By way of the opened folder: what another process puts in its place
        // meanwhile is another machine.
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(opened) = rustix::fs::open(&folder, flags, Mode::empty()) else { return Ok(None) };
        let open = |name: &str| -> Result<File, MachineError> {
            let file = rustix::fs::openat(&opened, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            Ok(file.map_err(|error| cannot("open", &folder.join(name))(error.into()))?.into())
        };
        let Ok(label) = open(LABEL) else { return Ok(None) };
        let fits = serde_json::from_reader::<_, Label>(label).is_ok_and(|label| same(label.khz, khz));
        if !fits {
            return Ok(None);
        }
        let read = |name: &str| -> Result<OwnedFd, MachineError> {
            let path = folder.join(name);
            let memory = memory_file("devenv-cloud-template", 0)?;
            let to = File::from(memory.try_clone().map_err(cannot("read", &path))?);
            scratch::copy(&open(name)?, &to).map_err(cannot("read", &path))?;
            seal(&memory)?;
            Ok(memory)
        };
        let disk = open(DISK)?;
        let age = disk.metadata().and_then(|data| data.modified()).ok().and_then(|made| made.elapsed().ok());
        let made = age.and_then(|age| Instant::now().checked_sub(age)).unwrap_or_else(Instant::now);
        let (memory, state) = (read(MEMORY)?, read(STATE)?);
        let fresh_mib = taken_mib(&memory);
        Ok(Some(Template { key, image, memory, state, disk, made, fresh_mib }))
    })
    .await
}

fn same(one: Option<u64>, other: Option<u64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.abs_diff(other) <= one / TOLERANCE,
        (one, other) => one == other,
    }
}

/// Keeps a template that has proved good.
pub(super) async fn keep(parts: &Parts, template: &Template) -> Result<(), MachineError> {
    let folder = place(parts, &template.image, &template.key).await?;
    let label = Label { spec: template.key.spec.to_string(), khz: parts.khz().await? };
    let parent = template.image.dir.join("templates");
    let duplicate = |fd: &OwnedFd| fd.try_clone().map(File::from);
    let files = [
        (MEMORY, duplicate(&template.memory)),
        (STATE, duplicate(&template.state)),
        (DISK, template.disk.try_clone()),
    ];
    blocking(move || {
        let keep = || -> io::Result<()> {
            fs::create_dir_all(&parent)?;
            make_room(&parent)?;
            // Not readable for others, like the memory of a process.
            let ours = fs::Permissions::from_mode(0o700);
            let unfinished =
                tempfile::Builder::new().prefix(UNFINISHED).permissions(ours).tempdir_in(&parent)?;
            for (name, file) in files {
                let copy = File::create_new(unfinished.path().join(name))?;
                scratch::copy(&file?, &copy)?;
                copy.sync_all()?;
            }
            fs::write(unfinished.path().join(LABEL), serde_json::to_vec(&label)?)?;
            match fs::rename(unfinished.path(), &folder) {
                // Somebody else was quicker.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
                other => other,
            }
        };
        keep().map_err(cannot("keep a template in", &parent))
    })
    .await
}

/// A template on disk, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The size of its machines.
    pub spec: String,
    /// How long ago it was made.
    pub age: Duration,
}

/// The templates that are kept of an image, the newest first. Whether they still
/// fit this host shows when they are looked for. Blocks.
#[must_use]
pub fn kept(image: &Image) -> Vec<Kept> {
    let entries = fs::read_dir(image.dir.join("templates")).into_iter().flatten().flatten();
    let read = |folder: PathBuf| -> Option<Kept> {
        let label: Label = serde_json::from_slice(&fs::read(folder.join(LABEL)).ok()?).ok()?;
        let made = fs::metadata(folder.join(DISK)).ok()?.modified().ok()?;
        Some(Kept { spec: label.spec, age: made.elapsed().unwrap_or_default() })
    };
    let finished = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with(UNFINISHED));
    let mut kept: Vec<_> = finished.filter_map(|entry| read(entry.path())).collect();
    kept.sort_by_key(|kept| kept.age);
    kept
}

/// Removes what is not good for anything.
pub(super) async fn remove(parts: &Parts, image: &Image, key: &Key) {
    if let Ok(folder) = place(parts, image, key).await {
        drop(blocking(move || fs::remove_dir_all(folder)).await);
    }
}

/// Removes what is left of those who were killed, and the oldest of too many.
fn make_room(parent: &Path) -> io::Result<()> {
    /// Nobody takes so long to write a template.
    const ABANDONED: Duration = Duration::from_secs(3600);
    let mut kept = Vec::new();
    for entry in fs::read_dir(parent)?.flatten() {
        let modified = entry.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            if modified.elapsed().is_ok_and(|age| age > ABANDONED) {
                drop(fs::remove_dir_all(entry.path()));
            }
        } else {
            kept.push((modified, entry.path()));
        }
    }
    kept.sort();
    // One more is about to come.
    let old = (kept.len() + 1).saturating_sub(KEPT);
    for (_, folder) in kept.drain(..old) {
        drop(fs::remove_dir_all(folder));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_measurements_of_one_counter_are_the_same() {
        assert!(same(Some(2_596_130), Some(2_596_900)));
        assert!(!same(Some(2_596_130), Some(2_700_000)));
        assert!(!same(Some(2_596_130), None));
        assert!(same(None, None));
    }

    #[test]
    fn what_is_kept_can_be_listed() {
        let images = tempfile::tempdir().unwrap();
        let image = crate::executor::image::tests::image(images.path(), "one", 1, "2026-01-01T00:00:00Z");
        assert_eq!(kept(&image), []);
        for (name, minutes) in [("a", 5), ("b", 1), (".new-c", 2)] {
            let folder = image.dir.join("templates").join(name);
            fs::create_dir_all(&folder).unwrap();
            let disk = File::create(folder.join(DISK)).unwrap();
            let now = disk.metadata().unwrap().modified().unwrap();
            disk.set_modified(now - Duration::from_secs(minutes * 60)).unwrap();
            let label = Label { spec: name.into(), khz: None };
            fs::write(folder.join(LABEL), serde_json::to_vec(&label).unwrap()).unwrap();
        }
        let found: Vec<_> =
            kept(&image).into_iter().map(|kept| (kept.spec, kept.age.as_secs() / 60)).collect();
        assert_eq!(found, [("b".to_owned(), 1), ("a".to_owned(), 5)]);
    }

    #[test]
    fn the_oldest_make_room() {
        let parent = tempfile::tempdir().unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        for name in ["a", "b", "c", "d", "e", ".new-killed", ".new-busy"] {
            let folder = parent.path().join(name);
            fs::create_dir(&folder).unwrap();
            if matches!(name, "b" | ".new-killed") {
                File::open(&folder).unwrap().set_modified(old).unwrap();
            }
        }
        make_room(parent.path()).unwrap();
        let left = |name: &str| parent.path().join(name).exists();
        assert!(!left("b") && !left(".new-killed") && left(".new-busy"));
        let kept = ["a", "c", "d", "e"].into_iter().filter(|name| left(name)).count();
        assert_eq!(kept, KEPT - 1);
    }
}
