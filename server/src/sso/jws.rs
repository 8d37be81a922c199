//! Signed tokens (RFC 7515), opened.
//!
//! Which algorithms count is our configuration's word, not the token's and not
//! the provider's; there is none among them that needs a secret. Which keys
//! count is the provider's published set, and never what a token brings along
//! (`jwk`, `jku`, `x5u`, `x5c`): those are not even read. What is returned is
//! the very bytes that the signature covers.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openidconnect::{
    JsonWebKey as _, JsonWebKeyAlgorithm, JwsSigningAlgorithm as _,
    core::{CoreJsonWebKey as Key, CoreJwsSigningAlgorithm as Algorithm},
};
use serde::Deserialize;
use serde_json::Value;

use crate::config::Algorithms;

/// The largest token that is looked at.
const LARGEST: usize = 64 << 10;

/// Why a token is not opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotOpened {
    /// It is not signed with a key that is published, as far as we know: perhaps
    /// it is published since.
    NoKey(String),
    /// Nothing will make it right.
    Bad(String),
}

/// It is bad, whatever it was to be.
pub(super) fn no<T>(why: &str) -> Result<T, NotOpened> {
    Err(bad(why))
}

fn bad(why: impl Into<String>) -> NotOpened {
    NotOpened::Bad(why.into())
}

/// The header, as far as it is read.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    cty: Option<Value>,
    crit: Option<Value>,
    enc: Option<Value>,
    zip: Option<Value>,
    b64: Option<Value>,
}

/// A token whose signature is right.
#[derive(Debug)]
pub(super) struct Opened<'a> {
    /// The header's `typ`, if there is one.
    pub(super) typ: Option<String>,
    /// The payload.
    pub(super) payload: Vec<u8>,
    key: &'a Key,
    algorithm: &'a Algorithm,
}

impl Opened<'_> {
    /// Whether a claim is the hash of a value (OpenID Connect Core §3.1.3.6):
    /// the left half of what the token's algorithm makes of it.
    pub(super) fn is_hash(&self, claim: &str, value: &str) -> bool {
        let Ok(hash) = self.key.hash_bytes(value.as_bytes(), self.algorithm) else { return false };
        URL_SAFE_NO_PAD.encode(&hash[..hash.len() / 2]) == claim
    }
}

/// Opens a token with one of these keys, if it is signed with an algorithm that
/// is allowed.
pub(super) fn open<'a>(
    token: &str,
    allowed: &'a Algorithms,
    keys: &'a [Key],
) -> Result<Opened<'a>, NotOpened> {
    if token.len() > LARGEST {
        return Err(bad("its token is too large"));
    }
    let mut parts = token.split('.');
    let (Some(head), Some(body), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad("its token is none that is signed"));
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| bad("its token is garbled"));
    let header: Header = serde_json::from_slice(&decode(head)?)
        .map_err(|_| bad("its token begins with a header that makes no sense"))?;
    // What must be understood (RFC 7515 §4.1.11) is not; nor what is packed or in another token.
    if header.crit.is_some() || header.cty.is_some() || header.enc.is_some() {
        return Err(bad("its token demands something that is not understood here"));
    }
    if header.zip.is_some() || header.b64.is_some() {
        return Err(bad("its token is in a form that is not understood here"));
    }
    let algorithm = allowed.allowed(&header.alg).ok_or_else(|| {
        bad(format!(
            "its token is signed with `{}`, and only {allowed} counts",
            header.alg.escape_debug().to_string().chars().take(20).collect::<String>()
        ))
    })?;
    let fitting: Vec<&Key> = keys
        .iter()
        .filter(|key| match &header.kid {
            Some(kid) => key.key_id().is_some_and(|id| id.as_str() == kid),
            None => true,
        })
        .filter(|key| fits(key, algorithm))
        .collect();
    let key = match fitting[..] {
        [key] => key,
        [] => {
            return Err(NotOpened::NoKey(
                "its token is signed with a key that it does not publish".to_owned(),
            ));
        }
        _ => return Err(bad("its token does not say with which of several keys it is signed")),
    };
    let signature = decode(signature)?;
    let signed = &token.as_bytes()[..head.len() + 1 + body.len()];
    key.verify_signature(algorithm, signed, &signature).map_err(|_| {
        let why = "the signature of its token is wrong".to_owned();
        // Without a name, the key that fitted may be the one before.
        if header.kid.is_none() { NotOpened::NoKey(why) } else { NotOpened::Bad(why) }
    })?;
    Ok(Opened { typ: header.typ, payload: decode(body)?, key, algorithm })
}

/// Whether a key is one for this algorithm, by all that it says of itself.
fn fits(key: &Key, algorithm: &Algorithm) -> bool {
    let signs = key.key_use().is_none_or(openidconnect::JsonWebKeyUse::allows_signature);
    let kind = algorithm.key_type().is_some_and(|kind| kind == *key.key_type());
    let named = match key.signing_alg() {
        JsonWebKeyAlgorithm::Unspecified => true,
        JsonWebKeyAlgorithm::Algorithm(named) => named == algorithm,
        JsonWebKeyAlgorithm::Unsupported => false,
    };
    signs && kind && named
}
