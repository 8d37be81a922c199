//! An authenticator in software, with the browser around it: it makes passkeys
//! and answers ceremonies as both together would, and every part of an answer
//! can be made wrong by itself.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use devenv_cloud_api::factors::{Ceremony, Passkey};
use p256::ecdsa::signature::Signer as _;
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Browser, Response, app::BASE_URL};

const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const ATTESTED: u8 = 0x40;

/// A passkey, in its authenticator.
#[derive(Clone)]
pub struct Key {
    pub id: Vec<u8>,
    pub handle: Vec<u8>,
    /// How often it signed; `None` for those that do not count.
    pub counter: Option<u32>,
    /// Whether it can be copied to other devices.
    pub eligible: bool,
    rp_id: String,
    signing: Signing,
}

/// What a key signs with.
#[derive(Clone)]
enum Signing {
    Es256(p256::ecdsa::SigningKey),
    Es384(p384::ecdsa::SigningKey),
    Rs256(Arc<RsaKeyPair>),
}

/// What a new key signs with, by its number in the registry of COSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Algorithm {
    Es256 = -7,
    Es384 = -35,
    Rs256 = -257,
}

/// Made with `openssl genrsa 2048 | openssl pkcs8 -topk8 -nocrypt -outform DER`,
/// and good for nothing but tests.
const RSA: &[u8] = include_bytes!("rsa-2048.der");

impl Signing {
    fn new(algorithm: Algorithm, seed: &[u8]) -> Self {
        match algorithm {
            Algorithm::Es256 => Self::Es256(p256::ecdsa::SigningKey::from_slice(seed).expect("a key")),
            Algorithm::Es384 => {
                let seed = [&[0; 16], seed].concat();
                Self::Es384(p384::ecdsa::SigningKey::from_slice(&seed).expect("a key"))
            }
            Algorithm::Rs256 => Self::Rs256(Arc::new(RsaKeyPair::from_pkcs8(RSA).expect("a key"))),
        }
    }

    const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Es256(_) => Algorithm::Es256,
            Self::Es384(_) => Algorithm::Es384,
            Self::Rs256(_) => Algorithm::Rs256,
        }
    }

    /// The public key in COSE's form (RFC 9052 §7, RFC 9053 §7.1, RFC 8230 §4).
    fn public(&self) -> Vec<u8> {
        let on_curve = |curve, x: &[u8], y: &[u8]| {
            let algorithm = int(self.algorithm() as i32);
            map(&[
                (int(1), int(2)),
                (int(3), algorithm),
                (int(-1), int(curve)),
                (int(-2), bytes(x)),
                (int(-3), bytes(y)),
            ])
        };
        match self {
            Self::Es256(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                on_curve(1, point.x().expect("x"), point.y().expect("y"))
            }
            Self::Es384(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                on_curve(2, point.x().expect("x"), point.y().expect("y"))
            }
            Self::Rs256(key) => {
                let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(key.public());
                map(&[
                    (int(1), int(3)),
                    (int(3), int(Algorithm::Rs256 as i32)),
                    (int(-1), bytes(&n)),
                    (int(-2), bytes(&e)),
                ])
            }
        }
    }

    fn sign(&self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Es256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(data);
                signature.as_bytes().to_vec()
            }
            Self::Es384(key) => {
                let signature: p384::ecdsa::DerSignature = key.sign(data);
                signature.as_bytes().to_vec()
            }
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature).expect("a signature");
                signature
            }
        }
    }
}

/// What an answer is made of. Everything is right until a test makes it wrong.
pub struct Answer {
    pub kind: &'static str,
    pub challenge: String,
    pub origin: String,
    pub cross_origin: bool,
    pub top_origin: Option<String>,
    pub rp_id: String,
    pub present: bool,
    pub verified: bool,
    pub eligible: bool,
    pub backed_up: bool,
    pub counter: u32,
    pub id: Vec<u8>,
    pub handle: Option<Vec<u8>>,
    /// Signs something else.
    pub forged: bool,
    pub attestation: Attestation,
}

/// How a new passkey says where it comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Attestation {
    /// It does not.
    None,
    /// Signed with the new key itself.
    Packed,
    /// The same, with a signature of something else.
    PackedForged,
}

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn unb64(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().expect("text")).expect("base64")
}

/// The beginning of a value in CBOR (RFC 8949 §3).
fn head(major: u8, n: usize) -> Vec<u8> {
    let major = major << 5;
    match n {
        0..24 => vec![major | n as u8],
        24..256 => vec![major | 24, n as u8],
        _ => [&[major | 25][..], &u16::try_from(n).expect("short").to_be_bytes()].concat(),
    }
}

fn text(s: &str) -> Vec<u8> {
    [head(3, s.len()), s.as_bytes().to_vec()].concat()
}

fn bytes(b: &[u8]) -> Vec<u8> {
    [head(2, b.len()), b.to_vec()].concat()
}

fn int(n: i32) -> Vec<u8> {
    if n < 0 { head(1, (-1 - n) as usize) } else { head(0, n as usize) }
}

fn map(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let all = pairs.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).flatten();
    head(5, pairs.len()).into_iter().chain(all).collect()
}

impl Answer {
    fn new(kind: &'static str, options: &Value, key: &Key) -> Self {
        Self {
            kind,
            challenge: options["challenge"].as_str().expect("a challenge").to_owned(),
            origin: BASE_URL.to_owned(),
            cross_origin: false,
            top_origin: None,
            rp_id: key.rp_id.clone(),
            present: true,
            verified: true,
            eligible: key.eligible,
            backed_up: key.eligible,
            counter: key.counter.unwrap_or_default(),
            id: key.id.clone(),
            handle: Some(key.handle.clone()),
            forged: false,
            attestation: Attestation::None,
        }
    }

    fn client_data(&self) -> Vec<u8> {
        let Self { kind, challenge, origin, cross_origin, .. } = self;
        let mut data =
            json!({"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": cross_origin});
        if let Some(top) = &self.top_origin {
            data["topOrigin"] = top.as_str().into();
        }
        serde_json::to_vec(&data).expect("JSON")
    }

    fn authenticator_data(&self, attested: &[u8]) -> Vec<u8> {
        let flags = [
            (self.present, PRESENT),
            (self.verified, VERIFIED),
            (self.eligible, ELIGIBLE),
            (self.backed_up, BACKED_UP),
            (!attested.is_empty(), ATTESTED),
        ];
        let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit);
        let rp = Sha256::digest(self.rp_id.as_bytes());
        [rp.as_slice(), &[flags], &self.counter.to_be_bytes(), attested].concat()
    }

    fn sign(&self, key: &Key, data: &[u8]) -> Vec<u8> {
        let hash = Sha256::digest(self.client_data());
        let mut signed = [data, hash.as_slice()].concat();
        if self.forged {
            signed.push(0);
        }
        key.signing.sign(&signed)
    }
}

impl Key {
    /// A new key for what these options ask for, and the answer to them.
    pub fn make(options: &Value) -> (Self, Value) {
        Self::make_with(options, |_| ())
    }

    /// The same, with something else about the answer.
    pub fn make_with(options: &Value, change: impl FnOnce(&mut Answer)) -> (Self, Value) {
        Self::make_for(options, Algorithm::Es256, change)
    }

    /// The same, signing with this.
    pub fn make_for(
        options: &Value,
        algorithm: Algorithm,
        change: impl FnOnce(&mut Answer),
    ) -> (Self, Value) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let options = &options["publicKey"];
        let seed = Sha256::digest(format!("passkey {}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let asked: Vec<_> =
            options["pubKeyCredParams"].as_array().expect("algorithms").iter().map(|a| &a["alg"]).collect();
        assert!(asked.contains(&&json!(algorithm as i32)), "{algorithm:?} is not asked for: {asked:?}");
        let mut key = Self {
            id: Sha256::digest(seed)[..20].to_vec(),
            handle: unb64(&options["user"]["id"]),
            counter: Some(0),
            eligible: false,
            rp_id: options["rp"]["id"].as_str().expect("a name").to_owned(),
            signing: Signing::new(algorithm, &seed),
        };
        let mut answer = Answer::new("webauthn.create", options, &key);
        change(&mut answer);
        key.id.clone_from(&answer.id);
        key.eligible = answer.eligible;
        let public = key.signing.public();
        let length = u16::try_from(key.id.len()).expect("a short id").to_be_bytes();
        let attested = [&[0; 16][..], &length, &key.id, &public].concat();
        let data = answer.authenticator_data(&attested);
        let (format, statement) = match answer.attestation {
            Attestation::None => ("none", map(&[])),
            packed => {
                answer.forged = packed == Attestation::PackedForged;
                let signature = answer.sign(&key, &data);
                ("packed", map(&[(text("alg"), int(algorithm as i32)), (text("sig"), bytes(&signature))]))
            }
        };
        let object = map(&[
            (text("fmt"), text(format)),
            (text("attStmt"), statement),
            (text("authData"), bytes(&data)),
        ]);
        let credential = json!({
            "id": b64(&key.id), "rawId": b64(&key.id), "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {"credProps": {"rk": true}},
            "response": {
                "clientDataJSON": b64(&answer.client_data()),
                "attestationObject": b64(&object),
                "transports": ["internal"],
            },
        });
        (key, credential)
    }

    /// The answer to these options.
    pub fn answer(&mut self, options: &Value) -> Value {
        self.answer_with(options, |_| ())
    }

    /// The same, with something else about it.
    pub fn answer_with(&mut self, options: &Value, change: impl FnOnce(&mut Answer)) -> Value {
        if let Some(counter) = &mut self.counter {
            *counter += 1;
        }
        let mut answer = Answer::new("webauthn.get", &options["publicKey"], self);
        change(&mut answer);
        let data = answer.authenticator_data(&[]);
        let signature = answer.sign(self, &data);
        json!({
            "id": b64(&answer.id), "rawId": b64(&answer.id), "type": "public-key",
            "authenticatorAttachment": "platform", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": b64(&answer.client_data()),
                "authenticatorData": b64(&data),
                "signature": b64(&signature),
                "userHandle": answer.handle.as_deref().map(b64),
            },
        })
    }
}

impl Browser {
    async fn ceremony(&self, path: &str) -> Ceremony {
        self.post(path, &json!({})).await.assert_status(200).json()
    }

    /// The options with which a passkey is added.
    pub async fn begin_passkey(&self) -> Ceremony {
        self.ceremony("/api/v1/account/passkeys/begin").await
    }

    pub async fn finish_passkey(&self, ceremony: &str, name: &str, credential: &Value) -> Response {
        let body = json!({"ceremony": ceremony, "name": name, "credential": credential});
        self.post("/api/v1/account/passkeys", &body).await
    }

    /// Adds a passkey.
    pub async fn add_passkey(&self, name: &str) -> (Key, Passkey) {
        let Ceremony { ceremony, options } = self.begin_passkey().await;
        let (key, credential) = Key::make(&options);
        let added = self.finish_passkey(&ceremony, name, &credential).await.assert_status(201);
        (key, added.json())
    }

    /// The options with which one signs in.
    pub async fn begin_sign_in(&self) -> Ceremony {
        self.ceremony("/api/v1/sign-in/passkey/begin").await
    }

    pub async fn finish_sign_in(&self, ceremony: &str, credential: &Value) -> Response {
        self.post("/api/v1/sign-in/passkey", &json!({"ceremony": ceremony, "credential": credential})).await
    }

    /// Signs in with the passkey.
    pub async fn sign_in_with(&self, key: &mut Key) -> Response {
        let Ceremony { ceremony, options } = self.begin_sign_in().await;
        self.finish_sign_in(&ceremony, &key.answer(&options)).await
    }

    /// The options with which one confirms that it is oneself.
    pub async fn begin_step_up(&self) -> Ceremony {
        self.ceremony("/api/v1/session/step-up/passkey/begin").await
    }

    pub async fn finish_step_up(&self, ceremony: &str, credential: &Value) -> Response {
        let body = json!({"ceremony": ceremony, "credential": credential});
        self.post("/api/v1/session/step-up/passkey", &body).await
    }

    /// Confirms with the passkey that it is oneself.
    pub async fn step_up_with(&self, key: &mut Key) -> Response {
        let Ceremony { ceremony, options } = self.begin_step_up().await;
        self.finish_step_up(&ceremony, &key.answer(&options)).await
    }
}
