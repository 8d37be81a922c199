//! Secrets that we make: the token that a program signs in with, the token of
//! the set-up link, what runners register and work with. Only their hashes are stored. They carry 256 bits of
//! chance, so a fast hash is enough (ASVS 6.5.2).

use sha2::{Digest as _, Sha256};

use crate::clock::Random;

/// What every token begins with, so that people and scanners recognise it.
pub(crate) const PREFIX: &str = "dvc_";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// 43 characters of 62 are a little more than 256 bits.
const RANDOM: usize = 43;

/// Enough to tell a typing mistake or a cut-off copy without a look-up.
const CHECK: usize = 6;

/// A new token that a program signs in with.
pub(super) fn new_token(random: &Random) -> String {
    new_secret(PREFIX, random)
}

/// A new secret: the prefix, 43 random letters and digits, 6 that follow from them.
pub(crate) fn new_secret(prefix: &str, random: &Random) -> String {
    let mut secret = prefix.to_owned();
    while secret.len() < prefix.len() + RANDOM {
        // 248 is the largest multiple of 62 in a byte: beyond it, chance would be uneven.
        for byte in random.bytes::<64>().into_iter().filter(|byte| *byte < 248) {
            if secret.len() < prefix.len() + RANDOM {
                secret.push(char::from(ALPHABET[usize::from(byte % 62)]));
            }
        }
    }
    let check = check(&secret);
    secret + &check
}

/// Whether this can be one of our tokens at all.
pub(super) fn is_token(secret: &str) -> bool {
    is_secret(PREFIX, secret)
}

/// Whether this can be one of our secrets with this prefix at all.
pub(crate) fn is_secret(prefix: &str, secret: &str) -> bool {
    secret.len() == prefix.len() + RANDOM + CHECK
        && secret.is_ascii()
        && secret.starts_with(prefix)
        && secret.ends_with(&check(&secret[..prefix.len() + RANDOM]))
}

/// The part of a token that may be shown, to tell tokens apart.
pub(crate) fn shown(secret: &str) -> String {
    let prefix = secret.find('_').map_or(0, |at| at + 1);
    secret.chars().take(prefix + 6).collect()
}

fn check(body: &str) -> String {
    let hash = Sha256::digest(body);
    hash.iter().take(CHECK).map(|byte| char::from(ALPHABET[usize::from(byte % 62)])).collect()
}

/// What is stored instead of the secret.
pub(crate) fn hash(secret: &[u8]) -> Vec<u8> {
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
