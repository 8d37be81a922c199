//! Mails that the server sends, as administrators of the instance see them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ids::MailId, permissions::words};

words! {
    /// What became of a mail.
    MailState {
        /// It will be sent, or sent once more.
        Waiting = "waiting",
        /// The mail server took it.
        Sent = "sent",
        /// It was written to a file, because no mail server is configured.
        Written = "written",
        /// It could not be sent.
        Failed = "failed",
    }
}

/// A mail, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Mail {
    /// The id; later mails have greater ones.
    pub id: MailId,
    /// To whom.
    pub recipient: String,
    /// What it is about.
    pub subject: String,
    /// What became of it.
    pub state: MailState,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<DateTime<Utc>>,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A mail that was written to a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MailText {
    /// The id.
    pub id: MailId,
    /// To whom.
    pub recipient: String,
    /// What it is about.
    pub subject: String,
    /// What it says, as plain text.
    pub text: String,
}
