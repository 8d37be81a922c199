//! The provider's keys, which are good for nothing else, and what is made with them.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, crypto, jwk::Jwk};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256, Sha512};

/// With what a token is signed.
#[derive(Clone, Debug)]
pub enum Signer {
    RsaA,
    RsaB,
    Pss,
    Ec,
    Ed,
    /// Not at all: `alg` is `none`.
    None,
    /// With a MAC of this secret.
    Hmac(Vec<u8>),
}

impl Signer {
    fn key(&self) -> (EncodingKey, Algorithm) {
        match self {
            Self::RsaA | Self::None => {
                (EncodingKey::from_rsa_der(include_bytes!("rsa-a.der")), Algorithm::RS256)
            }
            Self::RsaB => (EncodingKey::from_rsa_der(include_bytes!("rsa-b.der")), Algorithm::RS256),
            Self::Pss => (EncodingKey::from_rsa_der(include_bytes!("rsa-a.der")), Algorithm::PS256),
            Self::Ec => (EncodingKey::from_ec_der(include_bytes!("ec.der")), Algorithm::ES256),
            Self::Ed => (EncodingKey::from_ed_der(include_bytes!("ed.der")), Algorithm::EdDSA),
            Self::Hmac(secret) => (EncodingKey::from_secret(secret), Algorithm::HS256),
        }
    }
}

/// The public key, as it is published.
pub fn jwk(signer: Signer, kid: Option<&str>) -> Value {
    let (key, algorithm) = signer.key();
    let jwk = Jwk::from_encoding_key(&key, algorithm).expect("a key");
    let mut jwk = serde_json::to_value(jwk).expect("JSON");
    let fields = jwk.as_object_mut().expect("an object");
    // Which algorithm it is for is the other side's to know.
    fields.remove("alg");
    fields.insert("use".to_owned(), json!("sig"));
    if let Some(kid) = kid {
        fields.insert("kid".to_owned(), json!(kid));
    }
    jwk
}

/// The public key of [`Signer::RsaA`], for those who would use it as a secret.
pub fn public_der() -> Vec<u8> {
    include_bytes!("rsa-a.pub.der").to_vec()
}

/// The same as text.
pub fn public_pem() -> Vec<u8> {
    let text = STANDARD.encode(public_der());
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| str::from_utf8(line).expect("text")).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")).into_bytes()
}

/// A token. The header's `alg` is the signer's, unless the header says otherwise.
pub fn sign(signer: &Signer, header: &Map<String, Value>, claims: &Map<String, Value>) -> String {
    let (key, algorithm) = signer.key();
    let name = if matches!(signer, Signer::None) { json!("none") } else { json!(algorithm) };
    let mut head = Map::new();
    head.insert("alg".to_owned(), name);
    head.extend(header.clone());
    let encode = |part: &Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::from(part.clone()).to_string());
    let message = format!("{}.{}", encode(&head), encode(claims));
    let signature = match signer {
        Signer::None => String::new(),
        _ => crypto::sign(message.as_bytes(), &key, algorithm).expect("a signature"),
    };
    format!("{message}.{signature}")
}

/// `at_hash` and `c_hash`: the left half of what the algorithm makes of a value.
pub fn half_hash(signer: &Signer, value: &str) -> String {
    match signer {
        // Ed25519 has SHA-512 inside.
        Signer::Ed => URL_SAFE_NO_PAD.encode(&Sha512::digest(value.as_bytes())[..32]),
        _ => URL_SAFE_NO_PAD.encode(&Sha256::digest(value.as_bytes())[..16]),
    }
}

/// S256 of PKCE.
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}
