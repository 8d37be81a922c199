//! Secrets that we make: the token that a program signs in with, the token of
//! the set-up link. Only their hashes are stored. They carry 256 bits of
//! chance, so a fast hash is enough (ASVS 6.5.2).

use sha2::{Digest as _, Sha256};

use crate::clock::Random;

/// What every token begins with, so that people and scanners recognise it.
pub(super) const PREFIX: &str = "dvc_";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// 43 characters of 62 are a little more than 256 bits.
const RANDOM: usize = 43;

/// Enough to tell a typing mistake or a cut-off copy without a look-up.
const CHECK: usize = 6;

/// A new secret: the prefix, 43 random letters and digits, 6 that follow from them.
pub(super) fn new_token(random: &Random) -> String {
    let mut secret = PREFIX.to_owned();
    while secret.len() < PREFIX.len() + RANDOM {
        // 248 is the largest multiple of 62 in a byte: beyond it, chance would be uneven.
        for byte in random.bytes::<64>().into_iter().filter(|byte| *byte < 248) {
            if secret.len() < PREFIX.len() + RANDOM {
                secret.push(char::from(ALPHABET[usize::from(byte % 62)]));
            }
        }
    }
    let check = check(&secret);
    secret + &check
}

/// Whether this can be one of our tokens at all.
pub(super) fn is_token(secret: &str) -> bool {
    secret.len() == PREFIX.len() + RANDOM + CHECK
        && secret.is_ascii()
        && secret.starts_with(PREFIX)
        && secret.ends_with(&check(&secret[..PREFIX.len() + RANDOM]))
}

/// The part of a token that may be shown, to tell tokens apart.
pub(super) fn shown(secret: &str) -> String {
    secret.chars().take(PREFIX.len() + 6).collect()
}

fn check(body: &str) -> String {
    let hash = Sha256::digest(body);
    hash.iter().take(CHECK).map(|byte| char::from(ALPHABET[usize::from(byte % 62)])).collect()
}

/// What is stored instead of the secret.
pub(super) fn hash(secret: &[u8]) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_proves_itself_and_a_mistyped_one_does_not() {
        let random = Random::seeded(1);
        let token = new_token(&random);
        assert!(is_token(&token), "{token}");
        assert_ne!(token, new_token(&random));
        for at in 0..token.len() {
            let mut wrong = token.clone().into_bytes();
            wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
            assert!(!is_token(std::str::from_utf8(&wrong).unwrap()), "changed at {at}");
        }
        for wrong in ["", "dvc_", &token[..token.len() - 1], &format!("{token}x"), "ü"] {
            assert!(!is_token(wrong), "{wrong}");
        }
    }
}
