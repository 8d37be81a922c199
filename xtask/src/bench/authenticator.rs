//! A passkey in software, for measuring alone: it is always there, always
//! verified, and keeps its key in memory.

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// User present, user verified.
const FLAGS: u8 = 0b0000_0101;
/// The same, with a new credential.
const FLAGS_NEW: u8 = 0b0100_0101;

/// One passkey.
pub(super) struct Authenticator {
    key: SigningKey,
    id: [u8; 16],
    origin: String,
    handle: String,
}

fn text<'a>(options: &'a Value, pointer: &str) -> Result<&'a str> {
    options.pointer(pointer).and_then(Value::as_str).with_context(|| format!("the options have no {pointer}"))
}

impl Authenticator {
    /// With a new key, for the options of a registration. Also the answer to it.
    pub(super) fn register(origin: &str, options: &Value) -> Result<(Self, Value)> {
        let mut bytes = [0; 48];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
        let (secret, id) = bytes.split_at(32);
        let authenticator = Self {
            key: SigningKey::from_slice(secret).context("no key")?,
            id: id.try_into()?,
            origin: origin.to_owned(),
            handle: text(options, "/publicKey/user/id")?.to_owned(),
        };
        let client = authenticator.client_data("webauthn.create", text(options, "/publicKey/challenge")?);
        let mut data = authenticator.data(text(options, "/publicKey/rp/id")?, FLAGS_NEW);
        data.extend([0; 16]);
        data.extend(u16::try_from(authenticator.id.len())?.to_be_bytes());
        data.extend(authenticator.id);
        data.extend(authenticator.public_key()?);
        // {"fmt": "none", "attStmt": {}, "authData": bytes}
        let mut object = vec![0xa3];
        object.extend(b"\x63fmt\x64none\x67attStmt\xa0\x68authData\x58");
        object.push(u8::try_from(data.len())?);
        object.extend(&data);
        let id = URL_SAFE_NO_PAD.encode(authenticator.id);
        let answer = json!({
            "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {},
            "response": {
                "attestationObject": URL_SAFE_NO_PAD.encode(object),
                "clientDataJSON": URL_SAFE_NO_PAD.encode(client),
                "transports": ["internal"],
            },
        });
        Ok((authenticator, answer))
    }

    /// The answer to the options of a sign-in.
    pub(super) fn prove(&self, options: &Value) -> Result<Value> {
        let client = self.client_data("webauthn.get", text(options, "/publicKey/challenge")?);
        let data = self.data(text(options, "/publicKey/rpId")?, FLAGS);
        let signed = [data.as_slice(), &Sha256::digest(&client)].concat();
        let signature: Signature = self.key.sign(&signed);
        let id = URL_SAFE_NO_PAD.encode(self.id);
        Ok(json!({
            "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {},
            "response": {
                "authenticatorData": URL_SAFE_NO_PAD.encode(&data),
                "clientDataJSON": URL_SAFE_NO_PAD.encode(client),
                "signature": URL_SAFE_NO_PAD.encode(signature.to_der().as_bytes()),
                "userHandle": self.handle,
            },
        }))
    }

    fn client_data(&self, kind: &str, challenge: &str) -> Vec<u8> {
        json!({ "type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false })
            .to_string()
            .into_bytes()
    }

    /// The authenticator's data up to its counter, which stays 0, as passkeys have it.
    fn data(&self, relying_party: &str, flags: u8) -> Vec<u8> {
        let mut data = Sha256::digest(relying_party).to_vec();
        data.push(flags);
        data.extend([0; 4]);
        data
    }

    /// The public key as COSE writes it: {1: 2, 3: -7, -1: 1, -2: x, -3: y}.
    fn public_key(&self) -> Result<Vec<u8>> {
        let point = self.key.verifying_key().to_sec1_point(false);
        let (x, y) = (point.x().context("no x")?, point.y().context("no y")?);
        let mut key = b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20".to_vec();
        key.extend(x.as_slice());
        key.extend(b"\x22\x58\x20");
        key.extend(y.as_slice());
        Ok(key)
    }
}
