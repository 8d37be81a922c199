//! Scratch disks: a formatted, sparse, nameless file per machine.
//!
//! Formatting takes as long as starting a program twice, so each size is
//! formatted once and copied (shared, where the file system can) from then on.
//! A copy has no name: whatever happens to us, nothing of it stays. The disk of a
//! template, which its machine had mounted when it was frozen, is copied in the
//! same way for each machine that is restored.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::FileExt as _},
    path::{Path, PathBuf},
};

use rustix::{fs::SeekFrom, io::Errno};

use super::MachineError;
use crate::executor::image::tools;

/// MiB that a scratch disk may have.
const SIZES: std::ops::RangeInclusive<u32> = 64..=(4 << 20);

/// A fresh disk of this size. Blocks.
pub(super) fn disk(directory: &Path, mib: u32) -> Result<File, MachineError> {
    if !SIZES.contains(&mib) {
        return Err(MachineError::Spec(format!(
            "a disk of {mib} MiB: it must have between {} and {}",
            SIZES.start(),
            SIZES.end()
        )));
    }
    make(directory)?;
    let template = directory.join(format!("{mib}.ext4"));
    if !template.exists() {
        format(directory, &template, mib)?;
    }
    let source = File::open(&template).map_err(|e| MachineError::io("cannot open", &template, e))?;
    copy_of(directory, &source)
}

/// A disk with the same content as another. Blocks.
pub(super) fn copy_of(directory: &Path, other: &File) -> Result<File, MachineError> {
    make(directory)?;
    tempfile::tempfile_in(directory)
        .and_then(|disk| copy(other, &disk).map(|()| disk))
        .map_err(|e| MachineError::io("cannot make a scratch disk in", directory, e))
}

fn make(directory: &Path) -> Result<(), MachineError> {
    fs::create_dir_all(directory).map_err(|e| MachineError::io("cannot make the directory", directory, e))
}

fn format(directory: &Path, template: &Path, mib: u32) -> Result<(), MachineError> {
    let cannot_make = |e| MachineError::io("cannot make a scratch disk in", directory, e);
    let file = tempfile::NamedTempFile::new_in(directory).map_err(cannot_make)?;
    file.as_file().set_len(u64::from(mib) << 20).map_err(cannot_make)?;
    // No journal and no checksums: nobody mounts it a second time.
    let options =
        ["-q", "-F", "-m", "0", "-O", "^has_journal,^metadata_csum,^resize_inode", "-E", "nodiscard"];
    let mut arguments = options.map(std::ffi::OsString::from).to_vec();
    arguments.push(file.path().into());
    tools::run("mkfs.ext4", &arguments)?;
    // Two that format at the same time make the same; the last one stays.
    file.persist(template).map_err(|e| cannot_make(e.error))?;
    Ok(())
}

/// Copies a sparse file: by sharing its blocks, or only where it has data.
pub(super) fn copy(from: &File, to: &File) -> io::Result<()> {
    let length = from.metadata()?.len();
    if rustix::fs::ioctl_ficlone(to.as_fd(), from.as_fd()).is_ok() {
        return Ok(());
    }
    to.set_len(length)?;
    let mut buffer = vec![0; 1 << 20];
    let mut position = 0;
    while position < length {
        let data = match rustix::fs::seek(from, SeekFrom::Data(position)) {
            Ok(data) => data,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let hole = rustix::fs::seek(from, SeekFrom::Hole(data))?;
        position = data;
        while position < hole {
            let wanted = usize::try_from(hole - position).unwrap_or(usize::MAX).min(buffer.len());
            let n = from.read_at(&mut buffer[..wanted], position)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            to.write_all_at(&buffer[..n], position)?;
            position += n as u64;
        }
    }
    Ok(())
}

/// Where the scratch disks of a state directory are.
pub(super) fn directory(state: &Path) -> PathBuf {
    state.join("scratch")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_copy_is_equal_and_as_sparse() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(&[7; 10_000], 5 << 20).unwrap();
        let target = File::create(&to).unwrap();
        copy(&File::open(&from).unwrap(), &target).unwrap();
        assert_eq!(fs::read(&from).unwrap(), fs::read(&to).unwrap());
        assert!(target.metadata().unwrap().blocks() * 512 < 1 << 20);
    }

    #[test]
    fn a_disk_has_its_size_a_file_system_and_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let first = disk(directory.path(), 128).unwrap();
        let second = disk(directory.path(), 128).unwrap();
        assert_eq!(first.metadata().unwrap().len(), 128 << 20);
        let mut magic = [0; 2];
        second.read_exact_at(&mut magic, 0x438).unwrap();
        assert_eq!(magic, [0x53, 0xef], "ext4");
        first.write_all_at(b"x", 0).unwrap();
        second.read_exact_at(&mut magic, 0).unwrap();
        assert_eq!(magic, [0, 0], "one disk is not the other");
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["128.ext4"]);
    }

    #[test]
    fn a_copy_needs_no_disk_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let other = tempfile::tempfile().unwrap();
        other.set_len(1 << 20).unwrap();
        let copied = copy_of(&directory.path().join("new"), &other).unwrap();
        assert_eq!(copied.metadata().unwrap().len(), 1 << 20);
    }

    #[test]
    fn sizes_out_of_bounds_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = disk(directory.path(), 1).unwrap_err().to_string();
        assert!(error.contains("1 MiB"), "{error}");
    }
}
