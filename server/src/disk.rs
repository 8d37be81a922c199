//! Room on the server's own disk.
//!
//! Logs are what fills it. They stop being stored while there is still some
//! room, because a database that cannot write can neither say that a job ended
//! nor take the next push.

use std::path::PathBuf;

/// A directory whose disk shall not be filled.
#[derive(Clone, Debug)]
pub struct Reserve {
    directory: PathBuf,
    mib: u32,
}

/// There is less room than shall stay free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server's disk is full: {free} MiB are left, and {reserve} MiB stay free for the server itself \
     (limits.disk_reserve_mib). Free some space, then retry"
)]
pub struct DiskFull {
    free: u64,
    reserve: u32,
}

impl Reserve {
    /// Keeps `mib` MiB free on the disk that holds `directory`.
    #[must_use]
    pub const fn new(directory: PathBuf, mib: u32) -> Self {
        Self { directory, mib }
    }

    /// Whether there is room for more than the server's own needs. A disk that
    /// cannot be asked is left to say no by itself.
    ///
    /// # Errors
    /// When there is not.
    pub fn check(&self) -> Result<(), DiskFull> {
        let Ok(disk) = rustix::fs::statvfs(&self.directory) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize) >> 20;
        if free < u64::from(self.mib) { Err(DiskFull { free, reserve: self.mib }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::Reserve;

    #[test]
    fn what_is_left_is_compared_with_what_shall_stay_free() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Reserve::new(directory.path().to_owned(), 0).check(), Ok(()));
        let said = Reserve::new(directory.path().to_owned(), u32::MAX).check().unwrap_err().to_string();
        assert!(said.contains("disk is full") && said.contains("limits.disk_reserve_mib"), "{said}");
    }
}
