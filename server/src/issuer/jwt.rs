//! Signed tokens, in the one way that we allow.
//!
//! `jsonwebtoken` lets a good deal be optional: claims count only if they are
//! there, the algorithm is whatever the list says, nobody looks at `typ`, and the
//! time is the system's. Here there is one algorithm, every claim of ours must
//! be there, `typ` says what a token is good for, and the time is the
//! application's.

use chrono::TimeDelta;
use devenv_cloud_api::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, jwk::Jwk};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// The one algorithm: ECDSA over P-256 with SHA-256.
pub(super) const ALGORITHM: Algorithm = Algorithm::ES256;

/// How much clocks of servers that share keys may differ.
const SKEW: TimeDelta = TimeDelta::seconds(60);

/// What every P-256 key in PKCS #8 begins with (RFC 5208, RFC 5915); the 32
/// bytes of its secret follow.
const PKCS8: [u8; 35] = [
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
    0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04,
    0x20,
];

/// What a token is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// The `typ` of its header.
    pub(super) typ: &'a str,
    /// Who signed it.
    pub(super) issuer: &'a str,
    /// For whom.
    pub(super) audience: &'a str,
    /// Whether it counts although its time is over.
    pub(super) even_expired: bool,
}

/// Why a token counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It is no token.
    #[error("this is no signed token")]
    NoToken,
    /// Another algorithm than ours, or none.
    #[error("the token is not signed with ES256")]
    Algorithm,
    /// It is good for something else.
    #[error("the token is of another type")]
    Type,
    /// Its key is none of ours (any more).
    #[error("the token is signed with a key that is not published (any more)")]
    Key,
    /// Somebody changed it, or made it up.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is missing or wrong.
    #[error("the token's claim `{0}` is missing or wrong")]
    Claim(&'static str),
}

/// A key to sign with.
pub(super) struct Signer {
    key_id: String,
    key: EncodingKey,
}

impl Signer {
    /// From the 32 bytes of its secret. Nothing comes of a number that is no key.
    pub(super) fn new(secret: &[u8; 32]) -> Option<(Self, Jwk)> {
        let key = EncodingKey::from_ec_der(&[PKCS8.as_slice(), secret].concat());
        let mut public = Jwk::from_encoding_key(&key, ALGORITHM).ok()?;
        let key_id = public.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).ok()?;
        public.common.key_id = Some(key_id.clone());
        public.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
        Some((Self { key_id, key }, public))
    }

    /// Its name in the key set.
    pub(super) fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Signs.
    pub(super) fn sign(&self, typ: &str, claims: &impl Serialize) -> anyhow::Result<String> {
        let mut header = Header::new(ALGORITHM);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.key_id.clone());
        Ok(jsonwebtoken::encode(&header, claims, &self.key)?)
    }
}

/// The claims of a token that was signed with one of these keys and is what is
/// expected.
pub(super) fn verify<T: DeserializeOwned>(
    keys: &[Jwk],
    token: &str,
    expected: Expected<'_>,
    now: Timestamp,
) -> Result<T, Rejected> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| Rejected::NoToken)?;
    if header.alg != ALGORITHM {
        return Err(Rejected::Algorithm);
    }
    if header.typ.as_deref() != Some(expected.typ) {
        return Err(Rejected::Type);
    }
    let key_id = header.kid.ok_or(Rejected::Key)?;
    let key = keys.iter().find(|key| key.common.key_id.as_ref() == Some(&key_id)).ok_or(Rejected::Key)?;
    let key = DecodingKey::from_jwk(key).map_err(|_| Rejected::Key)?;
    let mut validation = Validation::new(ALGORITHM);
    // Looked at below: with our clock, and so that nothing is optional.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation)
        .map_err(|_| Rejected::Signature)?
        .claims;
    check(&claims, expected, now)?;
    serde_json::from_value(Value::Object(claims)).map_err(|_| Rejected::Claim("sub"))
}

fn check(claims: &Map<String, Value>, expected: Expected<'_>, now: Timestamp) -> Result<(), Rejected> {
    if claims.get("iss").and_then(Value::as_str) != Some(expected.issuer) {
        return Err(Rejected::Claim("iss"));
    }
    if claims.get("aud").and_then(Value::as_str) != Some(expected.audience) {
        return Err(Rejected::Claim("aud"));
    }
    let time = |name| claims.get(name).and_then(Value::as_i64);
    let latest = (now + SKEW).timestamp();
    if time("exp").is_none_or(|exp| exp <= now.timestamp() && !expected.even_expired) {
        return Err(Rejected::Claim("exp"));
    }
    if time("iat").is_none_or(|iat| iat > latest) {
        return Err(Rejected::Claim("iat"));
    }
    if claims.contains_key("nbf") && time("nbf").is_none_or(|nbf| nbf > latest) {
        return Err(Rejected::Claim("nbf"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const EXPECTED: Expected<'static> =
        Expected { typ: "JWT", issuer: "https://ci", audience: "me", even_expired: false };

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn claims() -> Value {
        let now = now().timestamp();
        json!({"iss": "https://ci", "aud": "me", "sub": "somebody", "iat": now, "exp": now + 60})
    }

    fn check(keys: &[Jwk], token: &str) -> Result<Value, Rejected> {
        verify(keys, token, EXPECTED, now())
    }

    #[test]
    fn a_token_counts_as_what_it_is_and_nothing_else() {
        let (signer, public) = Signer::new(&[7; 32]).unwrap();
        let keys = [public];
        let token = signer.sign("JWT", &claims()).unwrap();
        assert_eq!(check(&keys, &token), Ok(claims()));
        let token = signer.sign("ci+jwt", &claims()).unwrap();
        assert_eq!(check(&keys, &token), Err(Rejected::Type));
        for (name, value) in [
            ("iss", json!("https://evil")),
            ("aud", json!("you")),
            ("aud", json!(["me", "you"])),
            ("exp", json!(now().timestamp())),
            ("exp", json!("tomorrow")),
            ("iat", json!(now().timestamp() + 61)),
            ("nbf", json!(now().timestamp() + 61)),
            ("iss", Value::Null),
            ("aud", Value::Null),
            ("exp", Value::Null),
            ("iat", Value::Null),
        ] {
            let mut wrong = claims();
            wrong[name] = value.clone();
            if value.is_null() {
                wrong.as_object_mut().unwrap().remove(name);
            }
            let token = signer.sign("JWT", &wrong).unwrap();
            assert_eq!(check(&keys, &token), Err(Rejected::Claim(name)), "{name}: {value}");
        }
    }

    #[test]
    fn only_our_keys_and_our_algorithm_count() {
        let (signer, public) = Signer::new(&[7; 32]).unwrap();
        let (other, other_public) = Signer::new(&[8; 32]).unwrap();
        let token = signer.sign("JWT", &claims()).unwrap();
        assert_eq!(check(&[other_public], &token), Err(Rejected::Key));
        // Another key under the name of ours.
        let forged = Signer { key_id: signer.key_id.clone(), key: other.key };
        let forged = forged.sign("JWT", &claims()).unwrap();
        assert_eq!(check(std::slice::from_ref(&public), &forged), Err(Rejected::Signature));
        // The public key as a secret, and no signature at all.
        for (alg, signature) in [("HS256", "AAAA"), ("none", ""), ("ES384", "AAAA")] {
            use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
            let header = json!({"alg": alg, "typ": "JWT", "kid": signer.key_id});
            let payload = token.split('.').nth(1).unwrap();
            let token = format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(header.to_string()));
            let refused = check(std::slice::from_ref(&public), &token).unwrap_err();
            assert!(matches!(refused, Rejected::Algorithm | Rejected::NoToken), "{alg}: {refused}");
        }
        assert_eq!(check(&[public], "a.b.c"), Err(Rejected::NoToken));
    }

    #[test]
    fn what_is_no_number_of_the_curve_is_no_key() {
        assert!(Signer::new(&[0; 32]).is_none());
        assert!(Signer::new(&[0xff; 32]).is_none());
    }
}
