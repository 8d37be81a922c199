//! Passwords: which ones are accepted, and how they are kept.
//!
//! No rules of composition (NIST SP 800-63B §5.1.1.2): 8 to 1,024 characters,
//! exactly as typed, not one of the common ones, not one's own name or address.
//! Hashing takes 19 MiB and tens of milliseconds on purpose; it is done on
//! threads of its own and only a few at a time, so that a flood of sign-ins
//! costs the attacker's patience and not the server's memory.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _, password_hash::phc::PasswordHash};
use tokio::sync::oneshot;

use crate::refusal::Refusal;

/// Sorted by bytes, in lower case; where it comes from stands in its head.
static COMMON: &str = include_str!("common-passwords.txt");

const MIN: usize = 8;
const MAX: usize = 1024;

/// What is checked against when there is no such user, so that it takes as long
/// as when there is one. Of no known password.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$cZC0e7aMWBfkZ0yKlV3nQg$Cnm1n0hDNGYx2s1zW5Nl1nGgN7PtfPrO5V2NseJ2Hrs";

/// Hashes and checks passwords.
#[derive(Debug)]
pub struct Passwords {
    work: mpsc::Sender<Work>,
}

type Work = Box<dyn FnOnce() + Send>;

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

impl Passwords {
    /// On as many threads as there are processors. Always the same ones: what a
    /// thread has used once, its allocator keeps, and 19 MiB on every thread that
    /// ever hashed would be half a gigabyte after a storm.
    #[must_use]
    pub fn new() -> Self {
        let (work, waiting) = mpsc::channel::<Work>();
        let waiting = Arc::new(Mutex::new(waiting));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for n in 0..cores {
            let waiting = waiting.clone();
            let thread = move || {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(work) = next else { return };
                    // Whoever waits for it learns that there is no answer.
                    let _ = std::panic::catch_unwind(AssertUnwindSafe(work));
                }
            };
            if let Err(error) = std::thread::Builder::new().name(format!("passwords-{n}")).spawn(thread) {
                tracing::error!(%error, "a thread that hashes passwords cannot be started");
            }
        }
        Self { work }
    }

    /// Hashes a password that was accepted, as a PHC string with `salt`.
    ///
    /// # Errors
    /// When hashing fails, e.g. for want of memory.
    pub async fn hash(&self, password: String, salt: [u8; 16]) -> Result<String, Refusal> {
        self.away(move || {
            let hash: PasswordHash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether this is the password that was hashed. With no hash it takes as
    /// long, and is not.
    ///
    /// # Errors
    /// When the hash is none.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Refusal> {
        // Nobody's password is longer, and hashing megabytes is a gift to nobody.
        let plausible = password.chars().count() <= MAX && hash.is_some();
        self.away(move || {
            let hash = hash.as_deref().unwrap_or(NOBODY);
            let password = if password.len() <= MAX * 4 { password.as_bytes() } else { b"" };
            Ok(match Argon2::default().verify_password(password, &PasswordHash::new(hash)?) {
                Ok(()) => plausible,
                Err(argon2::password_hash::Error::PasswordInvalid) => false,
                Err(error) => return Err(error),
            })
        })
        .await
    }

    async fn away<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, argon2::password_hash::Error> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (answer, waiting) = oneshot::channel();
        let work = move || {
            // Nobody waits any more: not worth the time.
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
        };
        let gone = || Refusal::Failed(anyhow::anyhow!("no thread hashes passwords"));
        self.work.send(Box::new(work)).map_err(|_| gone())?;
        let hashed = waiting.await.map_err(|_| gone())?;
        hashed.map_err(|e| Refusal::Failed(anyhow::anyhow!("hashing a password failed: {e}")))
    }
}

/// Whether a new password is accepted; if not, the sentence says why. `own`
/// are the words that are this person's own: the address, the name.
///
/// # Errors
/// The sentence, for the person who chose it.
pub fn check(password: &str, own: &[&str]) -> Result<(), &'static str> {
    let length = password.chars().count();
    if length < MIN {
        return Err("a password has at least 8 characters");
    }
    if length > MAX {
        return Err("a password has at most 1,024 characters");
    }
    let lower = password.to_lowercase();
    let is_own = |word: &str| {
        let word = word.to_lowercase();
        let local = word.split_once('@').map_or("", |(local, _)| local);
        lower == word || (!local.is_empty() && lower == local)
    };
    if own.iter().any(|word| is_own(word)) {
        return Err("a password cannot be your own name or e-mail address");
    }
    if is_common(&lower) {
        return Err("this is one of the most common passwords, which attackers try first; choose another");
    }
    Ok(())
}

fn is_common(lower: &str) -> bool {
    static LIST: std::sync::OnceLock<Vec<&str>> = std::sync::OnceLock::new();
    LIST.get_or_init(|| {
        let list = COMMON.split_once("\n---\n\n").map_or("", |(_, list)| list);
        list.lines().collect()
    })
    .binary_search(&lower)
    .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_common_passwords_is_sorted_and_long_enough_to_matter() {
        let (_, list) = COMMON.split_once("\n---\n\n").unwrap();
        let list: Vec<_> = list.lines().collect();
        assert!(list.len() >= 3000, "{}", list.len());
        assert!(list.is_sorted());
    }

    #[test]
    fn passwords_are_accepted_or_refused_with_the_reason() {
        let own = ["ada.lovelace@example.com", "Ada Lovelace"];
        let long = "ü".repeat(1024);
        let too_long = "x".repeat(1025);
        for (password, refusal) in [
            ("correct horse battery staple", None),
            ("        ", None),
            ("пароль для нас", None),
            (&long, None),
            (&too_long, Some("at most")),
            ("short", Some("at least")),
            // Seven characters, though more bytes.
            ("üüüüüüü", Some("at least")),
            ("password", Some("most common")),
            ("PassWord", Some("most common")),
            ("qwertyuiop", Some("most common")),
            ("Ada Lovelace", Some("own name")),
            ("ADA.LOVELACE@EXAMPLE.COM", Some("own name")),
            ("ada.lovelace", Some("own name")),
        ] {
            match (check(password, &own), refusal) {
                (Ok(()), None) => {}
                (Err(why), Some(part)) if why.contains(part) => {}
                (result, _) => panic!("{password:?}: {result:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_password_is_checked_exactly_as_it_was_given() {
        let passwords = Passwords::new();
        let hash = passwords.hash(" Passwort ÄÖÜ ".to_owned(), [7; 16]).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        for (given, right) in [
            (" Passwort ÄÖÜ ", true),
            ("Passwort ÄÖÜ", false),
            (" passwort äöü ", false),
            // The same to the eye, decomposed.
            (" Passwort A\u{308}O\u{308}U\u{308} ", false),
        ] {
            assert_eq!(
                passwords.verify(given.to_owned(), Some(hash.clone())).await.unwrap(),
                right,
                "{given}"
            );
        }
    }

    #[tokio::test]
    async fn nobody_has_no_password_and_costs_the_same() {
        let passwords = Passwords::new();
        for guess in ["", "password", "nobody"] {
            assert!(!passwords.verify(guess.to_owned(), None).await.unwrap());
        }
        // The same parameters mean the same work.
        let parameters = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        let hash = passwords.hash("whatever it is".to_owned(), [7; 16]).await.unwrap();
        assert_eq!(parameters(NOBODY), parameters(&hash));
    }

    #[tokio::test]
    async fn a_password_beyond_the_limit_is_wrong_and_not_an_error() {
        let passwords = Passwords::new();
        let hash = passwords.hash("whatever it is".to_owned(), [7; 16]).await.unwrap();
        assert!(!passwords.verify("x".repeat(1 << 20), Some(hash)).await.unwrap());
    }
}
