//! What somebody proves with who they are: passkeys, one-time codes, recovery
//! codes; and what an instance or an organisation asks for.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{accounts::AuthMethod, ids::PasskeyId, permissions::words};

words! {
    /// What sign-in takes.
    SecondFactor {
        /// One proof is enough; who has a second one is asked for it.
        Optional = "optional",
        /// Everybody needs a passkey, or a password and a one-time code.
        Required = "required",
        /// Everybody needs a passkey, which cannot be told to an impostor's page.
        PhishingResistant = "phishing-resistant",
    }
}

/// What an instance or an organisation asks of everybody's sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignInPolicy {
    /// What is asked for.
    pub second_factor: SecondFactor,
    /// How many days people have to set it up: 0 to 90, from the change of this
    /// policy or the creation of their account on, whichever is later.
    pub grace_days: u32,
}

words! {
    /// Where somebody stands with what is asked of them.
    Standing {
        /// All is well.
        Fine = "fine",
        /// They have some days left to set a second factor up.
        Grace = "grace",
        /// They can do nothing before they have set it up.
        MustEnrol = "must-enrol",
        /// They have it, but did not use it when they signed in.
        MustProve = "must-prove",
    }
}

/// A passkey, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Passkey {
    /// The id.
    pub id: PasskeyId,
    /// What its owner calls it.
    pub name: String,
    /// Whether it is kept by a service that has copies on several devices.
    pub synced: bool,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it was last used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<DateTime<Utc>>,
}

/// Everything with which somebody can prove who they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Factors {
    /// Whether there is a password.
    pub password: bool,
    /// The passkeys, oldest first.
    pub passkeys: Vec<Passkey>,
    /// Since when there is an app for one-time codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codes_since: Option<DateTime<Utc>>,
    /// How many recovery codes are left.
    pub recovery_codes: u32,
    /// When they were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_codes_since: Option<DateTime<Utc>>,
    /// Where the person stands with what this instance asks for.
    pub standing: Standing,
    /// Until when they have time, where `standing` is `grace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
    /// What this instance asks for.
    pub asked: SecondFactor,
}

/// What a browser needs to begin a ceremony with an authenticator.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ceremony {
    /// Names this ceremony when its answer is sent; works once, within five minutes.
    pub ceremony: String,
    /// The options for `navigator.credentials`, as `WebAuthn`'s JSON (`{"publicKey": …}`).
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub options: serde_json::Value,
}

/// The answer of an authenticator.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Assertion {
    /// The ceremony that it answers.
    pub ceremony: String,
    /// The credential, as `WebAuthn`'s JSON (`PublicKeyCredential.toJSON()`).
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub credential: serde_json::Value,
}

/// Adds a passkey.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AddPasskey {
    /// The ceremony that it answers.
    pub ceremony: String,
    /// What to call it.
    pub name: String,
    /// The credential, as `WebAuthn`'s JSON (`PublicKeyCredential.toJSON()`).
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub credential: serde_json::Value,
}

/// Gives a passkey another name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenamePasskey {
    /// What to call it.
    pub name: String,
}

/// The secret of a new app for one-time codes, shown this once. It counts only
/// when it is confirmed with a code.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewCodes {
    /// The secret for typing, in base32.
    pub secret: String,
    /// The same as an address that apps understand (`otpauth://…`).
    pub uri: String,
    /// The modules of its QR code, row by row, `1` for dark.
    pub qr: Vec<String>,
}

/// A code.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Code {
    /// As it was typed; spaces and hyphens do not matter.
    pub code: String,
}

/// A password, to prove with it who one is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Password {
    /// The password, exactly as typed.
    pub password: String,
}

/// New recovery codes, shown this once.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecoveryCodes {
    /// Ten codes; each works once.
    pub codes: Vec<String>,
}

/// How one can prove once more who one is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StepUp {
    /// Whether the last proof is recent and strong enough.
    pub fresh: bool,
    /// Until when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// What can be used, the strongest first.
    pub methods: Vec<AuthMethod>,
}
