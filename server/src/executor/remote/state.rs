//! What a runner keeps: who it is, and what it proves that with. One file that
//! only its user may read, replaced as a whole, so that a runner killed at any
//! moment finds either the old state or the new.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::wire::{Credential, show_token};
use crate::clock::Random;

/// What stands in the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Saved {
    server: String,
    nonce: String,
    credential: Option<Credential>,
}

/// The file.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    saved: Saved,
}

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The disk said no.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// Read or write.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{} is not what a runner wrote ({why}): remove it, and register with a new token", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: serde_json::Error,
    },
    /// It is of another server's runner.
    #[error(
        "{} belongs to a runner of {theirs}: give this one another --state-dir, or remove the file to leave that server",
        path.display()
    )]
    OtherServer {
        /// The file.
        path: PathBuf,
        /// The other server.
        theirs: String,
    },
}

impl StateFile {
    /// Reads the state of the runner of `server`, or begins one.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn open(directory: &Path, server: &str, random: &Random) -> Result<Self, StateError> {
        let path = directory.join("runner.json");
        match fs::read(&path) {
            Ok(bytes) => {
                let saved: Saved = serde_json::from_slice(&bytes)
                    .map_err(|why| StateError::Damaged { path: path.clone(), why })?;
                if saved.server == server {
                    Ok(Self { path, saved })
                } else {
                    Err(StateError::OtherServer { path, theirs: saved.server })
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut this = Self {
                    path,
                    saved: Saved { server: server.to_owned(), nonce: String::new(), credential: None },
                };
                this.begin_anew(random)?;
                Ok(this)
            }
            Err(source) => Err(StateError::Io { what: "read", path, source }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What this machine registers with, the same until it is registered.
    #[must_use]
    pub fn nonce(&self) -> &str {
        &self.saved.nonce
    }

    /// What the runner works with, if it is registered.
    #[must_use]
    pub const fn credential(&self) -> Option<&Credential> {
        self.saved.credential.as_ref()
    }

    /// Keeps a new credential.
    ///
    /// # Errors
    /// When it cannot be written; nothing has changed then.
    pub fn keep(&mut self, credential: Credential) -> Result<(), StateError> {
        self.save(Saved { credential: Some(credential), ..self.saved.clone() })
    }

    /// Forgets who the runner was: it will be another one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin_anew(&mut self, random: &Random) -> Result<(), StateError> {
        let nonce = show_token(u128::from_be_bytes(random.bytes()));
        self.save(Saved { nonce, credential: None, ..self.saved.clone() })
    }

    fn save(&mut self, saved: Saved) -> Result<(), StateError> {
        let error = |source| StateError::Io { what: "write", path: self.path.clone(), source };
        let bytes = serde_json::to_vec_pretty(&saved).map_err(|e| error(e.into()))?;
        let temporary = self.path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary).map_err(error)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(error)?;
        fs::rename(&temporary, &self.path).map_err(error)?;
        self.saved = saved;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn state_survives_and_is_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let random = Random::seeded(1);
        let open = || StateFile::open(directory.path(), "https://ci.example.com", &random);
        let mut state = open().unwrap();
        let nonce = state.nonce().to_owned();
        assert_eq!((nonce.len(), state.credential().is_none()), (32, true));
        let credential = Credential {
            runner: devenv_cloud_api::ids::RunnerId(Uuid::nil()),
            credential: "secret".to_owned(),
            expires_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        };
        state.keep(credential).unwrap();
        let again = open().unwrap();
        assert_eq!(
            (again.nonce(), again.credential().unwrap().credential.as_str()),
            (nonce.as_str(), "secret")
        );
        let mode = fs::metadata(again.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    }

    #[test]
    fn the_state_of_another_server_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let random = Random::seeded(1);
        StateFile::open(directory.path(), "https://a.example.com", &random).unwrap();
        let error = StateFile::open(directory.path(), "https://b.example.com", &random).unwrap_err();
        assert!(error.to_string().contains("https://a.example.com"), "{error}");
        fs::write(directory.path().join("runner.json"), "{").unwrap();
        let error = StateFile::open(directory.path(), "https://a.example.com", &random).unwrap_err();
        assert!(error.to_string().contains("remove it"), "{error}");
    }
}
