//! Mail to people: links that are good for something, and notices of what
//! happened to their account.
//!
//! A mail is written down in the transaction of what it is about, and sent
//! afterwards by [`drive`]: what did not happen is not announced, and what did
//! happen is announced also when the server dies the moment after. Until it is
//! sent its text lies sealed in the database, because a link in it may be good
//! for somebody's account; then the text is forgotten.
//!
//! A mail is claimed for some minutes before it is sent, and marked as sent
//! after the mail server took it. Whoever dies in between has it sent once more,
//! with the same `Message-ID`. That is the price of losing none.
//!
//! Without a mail server in the configuration mails are written to files, which
//! is for trying things out: administrators of the instance can read them there.

mod deliver;
pub mod notices;
mod store;
mod templates;
mod transport;

use devenv_cloud_api::{
    ids::MailId,
    mail::{Mail, MailText},
};
use serde::{Deserialize, Serialize};

pub use deliver::{Delivery, delete_old_once, deliver_once, drive};
pub(crate) use templates::name_or;
pub use transport::Mailer;

use crate::{
    app::AppParts,
    db::{DbError, Topic, Tx},
    identity::User,
    refusal::Refusal,
};

/// What the text of a mail is sealed for.
const PURPOSE: &str = "mail";

/// A mail before it is written down. It begins by greeting the person by name.
#[derive(Clone, Debug)]
pub struct Message {
    email: String,
    name: String,
    subject: String,
    paragraphs: Vec<String>,
    link: Option<(String, String)>,
    closing: Vec<String>,
}

impl Message {
    /// To somebody with this address and name; an empty name is none.
    #[must_use]
    pub fn new(email: &str, name: &str, subject: impl Into<String>) -> Self {
        let subject: String = subject.into();
        Self {
            email: email.to_owned(),
            name: name.to_owned(),
            subject: subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
            paragraphs: Vec::new(),
            link: None,
            closing: Vec::new(),
        }
    }

    /// To somebody who has an account.
    #[must_use]
    pub fn to(user: &User, subject: impl Into<String>) -> Self {
        Self::new(&user.email, &user.name, subject)
    }

    /// Says something, in a paragraph of its own.
    #[must_use]
    pub fn say(mut self, paragraph: impl Into<String>) -> Self {
        self.paragraphs.push(paragraph.into());
        self
    }

    /// Offers one link, with what following it does.
    #[must_use]
    pub fn link(mut self, label: &str, url: impl Into<String>) -> Self {
        self.link = Some((label.to_owned(), url.into()));
        self
    }

    /// Says something below the link: until when it works, what to do if it was not you.
    #[must_use]
    pub fn close(mut self, paragraph: impl Into<String>) -> Self {
        self.closing.push(paragraph.into());
        self
    }
}

/// A mail as it is kept until it is sent.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    name: String,
    text: String,
    html: String,
}

/// Writes a mail down, to be sent once the transaction is committed.
///
/// # Errors
/// When the database says no.
pub async fn send(app: &AppParts, tx: &mut Tx, message: Message) -> Result<MailId, Refusal> {
    let now = app.clock.now();
    let id = MailId(app.random.id(now));
    let (text, html) = templates::render(&message, &app.config.server.base_url);
    let content = Content { name: message.name, text, html };
    let content = serde_json::to_vec(&content).map_err(|e| Refusal::Failed(e.into()))?;
    let sealed = app.seal.seal(PURPOSE, &content).map_err(Refusal::Failed)?;
    store::insert(&mut *tx, id, &message.email, &message.subject, &sealed, now).await?;
    tx.wake(Topic::Mail);
    Ok(id)
}

/// Mails, newest first, from `before` on.
///
/// # Errors
/// When the database says no.
pub async fn list(app: &AppParts, before: Option<MailId>, limit: u32) -> Result<Vec<Mail>, DbError> {
    store::list(&app.db, before, limit).await
}

/// The text of a mail that was written to a file, for want of a mail server.
/// What was or will be sent to somebody is nobody else's business.
///
/// # Errors
/// When there is no such mail, or it is for its recipient alone.
pub async fn read(app: &AppParts, id: MailId) -> Result<MailText, Refusal> {
    let mail = store::find(&app.db, id).await?.ok_or(Refusal::NotFound)?;
    let text = if mail.written { app.mailer.read(id).await.map_err(Refusal::Failed)? } else { None };
    let text = text.ok_or(Refusal::NotFound)?;
    Ok(MailText { id, recipient: mail.recipient, subject: mail.subject, text })
}
