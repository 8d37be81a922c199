//! Secrets at rest: what the database must hold and a copy of it must not tell.
//!
//! Sealed with XChaCha20-Poly1305 under a key that lies in a file beside the
//! database and not in it. Each sealed value has a nonce of its own and names
//! its key, so that keys can be changed: the first of the file seals, every one
//! of them opens. What the value is for is sealed in with it: the secret of a
//! one-time code cannot be passed off as a signing key.

use std::{fmt, path::Path};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305,
    aead::{Aead as _, Payload},
};

use crate::{clock::Random, identity::secret};

/// The form of sealed values; another one would have another first byte.
const FORM: u8 = 1;
const KEY_ID: usize = 4;
const NONCE: usize = 24;

struct Key {
    id: [u8; KEY_ID],
    cipher: XChaCha20Poly1305,
}

impl Key {
    fn new(bytes: [u8; 32]) -> Self {
        let hash = secret::hash(&bytes);
        let mut id = [0; KEY_ID];
        id.copy_from_slice(&hash[..KEY_ID]);
        Self { id, cipher: XChaCha20Poly1305::new(&bytes.into()) }
    }
}

/// Seals and opens.
pub struct Seal {
    /// Never empty; the first seals.
    keys: Vec<Key>,
    random: Random,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// With the keys of a file, one a line, each 32 bytes in Base64. A file that
    /// is not there is made, with one new key, for the owner alone.
    ///
    /// # Errors
    /// When the file cannot be read or made, or holds no key.
    pub fn from_file(path: &Path, random: &Random) -> anyhow::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(path, random)?,
            other => other.with_context(|| format!("cannot read the key file {}", path.display()))?,
        };
        let mut keys = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let bytes = STANDARD.decode(line).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            let Some(bytes) = bytes else {
                bail!(
                    "a line of the key file {} is no key: it must be 32 bytes in Base64, as `openssl rand -base64 32` \
                     prints them",
                    path.display()
                );
            };
            keys.push(Key::new(bytes));
        }
        if keys.is_empty() {
            bail!(
                "the key file {} holds no key; put back the one that the database was used with",
                path.display()
            );
        }
        Ok(Self { keys, random: random.clone() })
    }

    /// Seals a secret that is for `purpose`.
    ///
    /// # Errors
    /// Practically never: only when the secret is too large.
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> anyhow::Result<Vec<u8>> {
        let Some(key) = self.keys.first() else { bail!("there is no key to seal with") };
        let nonce: [u8; NONCE] = self.random.bytes();
        let payload = Payload { msg: secret, aad: purpose.as_bytes() };
        let sealed =
            key.cipher.encrypt(&nonce.into(), payload).map_err(|_| anyhow::anyhow!("cannot seal"))?;
        Ok([&[FORM], key.id.as_slice(), &nonce, &sealed].concat())
    }

    /// Opens what was sealed for `purpose`.
    ///
    /// # Errors
    /// When it was sealed with a key that is gone or for another purpose, or was changed.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
        let Some((&[FORM], rest)) = sealed.split_at_checked(1) else {
            bail!("this {purpose} is not sealed in a form that this version knows");
        };
        let Some((id, rest)) = rest.split_at_checked(KEY_ID) else { bail!("this {purpose} is cut off") };
        let Some((nonce, text)) = rest.split_first_chunk::<NONCE>() else {
            bail!("this {purpose} is cut off")
        };
        let Some(key) = self.keys.iter().find(|key| key.id == id) else {
            bail!(
                "this {purpose} was sealed with a key that the key file does not hold (any more); put back the \
                 file that the database was used with"
            );
        };
        let payload = Payload { msg: text, aad: purpose.as_bytes() };
        key.cipher
            .decrypt(&(*nonce).into(), payload)
            .map_err(|_| anyhow::anyhow!("this {purpose} was changed, or sealed for something else"))
    }
}

/// A new key file. Of two processes that make it at once, both use the same.
fn make(path: &Path, random: &Random) -> anyhow::Result<String> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let write = || -> std::io::Result<String> {
        let text = format!(
            "# What the database holds sealed is lost without this file: keep a copy, and not beside the database's.\n{}\n",
            STANDARD.encode(random.bytes::<32>())
        );
        let new = path.with_extension(format!("new-{}", std::process::id()));
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        let linked = std::fs::hard_link(&new, path);
        std::fs::remove_file(&new)?;
        match linked {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => std::fs::read_to_string(path),
            other => other.map(|()| text),
        }
    };
    write().with_context(|| format!("cannot make the key file {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(dir: &tempfile::TempDir) -> Seal {
        Seal::from_file(&dir.path().join("secret.key"), &Random::system()).unwrap()
    }

    #[test]
    fn what_is_sealed_can_be_opened_for_the_same_purpose_alone() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = seal(&dir).seal("seed", b"hello").unwrap();
        assert!(!sealed.windows(5).any(|part| part == b"hello"));
        assert_ne!(sealed, seal(&dir).seal("seed", b"hello").unwrap(), "each has a nonce of its own");
        // The key is in the file: another process opens it as well.
        assert_eq!(seal(&dir).open("seed", &sealed).unwrap(), b"hello");
        assert!(seal(&dir).open("key", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(seal(&dir).open("seed", &changed).is_err(), "changed at {at}");
            assert!(seal(&dir).open("seed", &sealed[..at]).is_err(), "cut off at {at}");
        }
    }

    #[test]
    fn an_old_key_opens_and_a_lost_one_is_told() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.key");
        let sealed = seal(&dir).seal("seed", b"hello").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let old = std::fs::read_to_string(&path).unwrap();
        let new = STANDARD.encode([7; 32]);
        std::fs::write(&path, format!("{new}\n{old}")).unwrap();
        assert_eq!(seal(&dir).open("seed", &sealed).unwrap(), b"hello");
        std::fs::write(&path, &new).unwrap();
        let error = seal(&dir).open("seed", &sealed).unwrap_err().to_string();
        assert!(error.contains("put back the file"), "{error}");
        for nonsense in ["", "x", "AAAA"] {
            std::fs::write(&path, nonsense).unwrap();
            assert!(Seal::from_file(&path, &Random::system()).is_err(), "{nonsense:?}");
        }
    }
}
