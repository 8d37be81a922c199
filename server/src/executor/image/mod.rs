//! Images: what a machine boots. A kernel, an initial RAM file system with our
//! PID 1, and a root file system with Nix, git and a shell.
//!
//! An image is a directory (below `executor.image_dir`), named by the hash of its
//! contents, and never changes. It is made in a temporary directory and renamed
//! into place, so that a directory with a manifest is whole; and it is verified
//! before it is used, because a disk may lie.

mod build;
mod cli;
mod cpio;
mod embedded;
mod kernel;
mod modules;
mod root;
pub(crate) mod tools;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::UNIX_EPOCH,
};

use devenv_cloud_api::Timestamp;
use devenv_cloud_guest::protocol;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use build::{BuildOptions, build};
pub use cli::{ImageCommand, run};

/// The form of the manifest and of the directory.
const FORMAT: u32 = 1;

const MANIFEST: &str = "manifest.json";
/// Sizes and times of files whose contents were found right.
const STAMP: &str = "verified.json";
const KERNEL: &str = "kernel";
const INITRD: &str = "initrd";
const ROOT: &str = "root.erofs";

/// What can go wrong with images.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// None there, or none that this version can talk to.
    #[error("{0}: run `devenv-cloud image build`")]
    None(String),
    /// Programs that the build calls are not installed.
    #[error(
        "building an image needs programs that are missing ({programs}): run `apt-get install {packages}`"
    )]
    ToolsMissing {
        /// Their names.
        programs: String,
        /// The Debian packages that have them.
        packages: String,
    },
    /// A program could not be started.
    #[error("cannot run {program}: {source}")]
    Spawn {
        /// Its name.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A program failed.
    #[error("{program} failed ({status}):\n{words}")]
    Tool {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its standard error.
        words: String,
    },
    /// The kernel package is not as expected.
    #[error("cannot use the kernel: {0}")]
    Kernel(String),
    /// What the build was given is not there.
    #[error("{what} is missing at {path}: {how}")]
    Input {
        /// What it is.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// What to do.
        how: &'static str,
    },
    /// A file is not what it was when the image was built.
    #[error("image {id} is damaged ({file} {how}): remove {dir} and run `devenv-cloud image build`")]
    Damaged {
        /// The image.
        id: String,
        /// The file.
        file: String,
        /// What is wrong with it.
        how: String,
        /// The image's directory.
        dir: PathBuf,
    },
    /// The disk says no.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl ImageError {
    fn io(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { what, path: path.into(), source }
    }
}

/// What an image says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of this manifest.
    pub format: u32,
    /// The version of the protocol that its PID 1 speaks.
    pub protocol: u16,
    /// The hash of what it was built from: recipe, PID 1, evaluator.
    pub inputs: String,
    /// When it was built.
    pub built_at: Timestamp,
    /// The kernel's release, as `uname -r` says it.
    pub kernel: String,
    /// The Debian packages inside: `name version`.
    pub packages: Vec<String>,
    /// Its files.
    pub files: BTreeMap<String, FileEntry>,
}

/// A file of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the contents, hexadecimal.
    pub sha256: String,
}

/// An image on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Its name: the hash of what it consists of, shortened.
    pub id: String,
    /// Where it is.
    pub dir: PathBuf,
    /// What it says about itself.
    pub manifest: Manifest,
}

impl Image {
    /// The kernel, an ELF image.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.dir.join(KERNEL)
    }

    /// The initial RAM file system.
    #[must_use]
    pub fn initrd(&self) -> PathBuf {
        self.dir.join(INITRD)
    }

    /// The root file system.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir.join(ROOT)
    }

    /// Bytes on disk.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.manifest.files.values().map(|file| file.size).sum()
    }

    /// Checks every file against the manifest. What was found right is noted,
    /// so that the next start of the server compares sizes and times only;
    /// `thorough` reads everything again.
    ///
    /// # Errors
    /// [`ImageError::Damaged`], or when a file cannot be read.
    pub fn verify(&self, thorough: bool) -> Result<(), ImageError> {
        let stamp_path = self.dir.join(STAMP);
        let known: Stamp = match fs::read(&stamp_path) {
            Ok(bytes) if !thorough => serde_json::from_slice(&bytes).unwrap_or_default(),
            _ => Stamp::default(),
        };
        let mut stamp = Stamp::default();
        for (name, entry) in &self.manifest.files {
            let path = self.dir.join(name);
            let found =
                FileStamp::of(&path).map_err(|e| self.damaged(name, format!("cannot be read: {e}")))?;
            if found.size != entry.size {
                return Err(self.damaged(name, format!("has {} bytes instead of {}", found.size, entry.size)));
            }
            if known.0.get(name) != Some(&found) {
                let (_, sha256) = hash_file(&path)?;
                if sha256 != entry.sha256 {
                    return Err(self.damaged(name, "has other contents".into()));
                }
            }
            stamp.0.insert(name.clone(), found);
        }
        if stamp != known {
            // Only a short cut for the next start: not being able to write it is no error.
            if let Ok(bytes) = serde_json::to_vec(&stamp) {
                drop(fs::write(&stamp_path, bytes));
            }
        }
        Ok(())
    }

    fn damaged(&self, file: &str, how: String) -> ImageError {
        ImageError::Damaged { id: self.id.clone(), file: file.to_owned(), how, dir: self.dir.clone() }
    }

    fn read(dir: &Path) -> Option<Self> {
        let id = dir.file_name()?.to_str()?.to_owned();
        let manifest: Manifest = serde_json::from_slice(&fs::read(dir.join(MANIFEST)).ok()?).ok()?;
        (manifest.format == FORMAT).then(|| Self { id, dir: dir.to_owned(), manifest })
    }
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stamp(BTreeMap<String, FileStamp>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FileStamp {
    size: u64,
    modified_ns: u64,
}

impl FileStamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { size: metadata.len(), modified_ns: u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX) })
    }
}

/// All images of a directory, newest first. What has no readable manifest is none.
///
/// # Errors
/// When the directory cannot be read; that there is none is an empty list.
pub fn list(dir: &Path) -> Result<Vec<Image>, ImageError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(ImageError::io("cannot read", dir, e)),
    };
    let mut images: Vec<_> = entries.filter_map(|entry| Image::read(&entry.ok()?.path())).collect();
    images.sort_by(|a, b| (b.manifest.built_at, &b.id).cmp(&(a.manifest.built_at, &a.id)));
    Ok(images)
}

/// The image that machines boot: the newest that speaks our protocol, verified.
///
/// # Errors
/// [`ImageError::None`] and [`ImageError::Damaged`] say what to do.
pub fn newest(dir: &Path) -> Result<Image, ImageError> {
    let images = list(dir)?;
    let count = images.len();
    let usable = images.into_iter().find(|image| image.manifest.protocol == protocol::VERSION);
    let Some(image) = usable else {
        return Err(ImageError::None(if count == 0 {
            format!("there is no machine image in {}", dir.display())
        } else {
            format!(
                "no machine image in {} speaks version {} of the guest protocol",
                dir.display(),
                protocol::VERSION
            )
        }));
    };
    image.verify(false)?;
    Ok(image)
}

/// Size and SHA-256 of a file.
fn hash_file(path: &Path) -> Result<(u64, String), ImageError> {
    let cannot_read = |e| ImageError::io("cannot read", path, e);
    let mut file = File::open(path).map_err(cannot_read)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        match file.read(&mut buffer).map_err(cannot_read)? {
            0 => return Ok((size, hex::encode(hash.finalize()))),
            n => {
                hash.update(&buffer[..n]);
                size += n as u64;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn image(images: &Path, id: &str, protocol: u16, built_at: &str) -> Image {
        let dir = images.join(id);
        fs::create_dir_all(&dir).unwrap();
        let mut files = BTreeMap::new();
        for name in [KERNEL, INITRD, ROOT] {
            fs::write(dir.join(name), name).unwrap();
            let (size, sha256) = hash_file(&dir.join(name)).unwrap();
            files.insert(name.to_owned(), FileEntry { size, sha256 });
        }
        let manifest = Manifest {
            format: FORMAT,
            protocol,
            inputs: "inputs".into(),
            built_at: built_at.parse().unwrap(),
            kernel: "6".into(),
            packages: vec![],
            files,
        };
        fs::write(dir.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
        Image { id: id.into(), dir, manifest }
    }

    #[test]
    fn the_newest_that_speaks_our_protocol_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let images = &directory.path().join("images");
        let words = newest(images).unwrap_err().to_string();
        assert!(words.contains("no machine image") && words.contains("devenv-cloud image build"), "{words}");

        image(images, "future", protocol::VERSION + 1, "2030-01-01T00:00:00Z");
        let words = newest(images).unwrap_err().to_string();
        assert!(words.contains("speaks version"), "{words}");

        image(images, "old", protocol::VERSION, "2020-01-01T00:00:00Z");
        let new = image(images, "new", protocol::VERSION, "2021-01-01T00:00:00Z");
        fs::create_dir(images.join(".build-half")).unwrap();
        assert_eq!(newest(images).unwrap(), new);
        assert_eq!(list(images).unwrap().len(), 3);
    }

    #[test]
    fn damage_is_found() {
        let images = tempfile::tempdir().unwrap();
        let image = image(images.path(), "a", protocol::VERSION, "2020-01-01T00:00:00Z");
        image.verify(false).unwrap();
        assert!(image.dir.join(STAMP).exists());
        image.verify(false).unwrap();

        // Same length, other contents: the new time gives it away.
        let kernel = File::options().write(true).open(image.kernel()).unwrap();
        kernel.set_modified(UNIX_EPOCH).unwrap();
        fs::write(image.kernel(), "KERNEL").unwrap();
        let words = image.verify(false).unwrap_err().to_string();
        assert!(words.contains("kernel has other contents") && words.contains("image build"), "{words}");

        fs::write(image.root(), "short").unwrap();
        fs::write(image.kernel(), KERNEL).unwrap();
        let words = image.verify(false).unwrap_err().to_string();
        assert!(words.contains("root.erofs has 5 bytes instead of 10"), "{words}");
        fs::remove_file(image.root()).unwrap();
        assert!(matches!(newest(images.path()), Err(ImageError::Damaged { .. })));
    }
}
