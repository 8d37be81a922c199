//! Why a domain did not do what it was asked for. Domains speak of the matter;
//! how that looks over HTTP is decided in `web::problem`, in one place.

use devenv_cloud_api::problem::FieldError;

use crate::db::DbError;

/// A no, with its reason.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nobody is signed in.
    #[error("you are not signed in")]
    Unauthenticated,
    /// The one who asks may see it, but may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// E-mail address and password do not belong together.
    #[error("the e-mail address or the password is wrong")]
    WrongCredentials,
    /// The first proof is right, and this account asks for a second one.
    #[error("the password is right; this account also asks for a passkey or a one-time code")]
    SecondFactor,
    /// It takes a recent proof of who one is, as strong as one can give.
    #[error(
        "confirm that it is you: this takes a proof from the last ten minutes, as strong as you can give"
    )]
    StepUp,
    /// A second factor must be set up first.
    #[error("a second factor is required here; set one up under Account, Security, before you go on")]
    MustEnrol,
    /// A proof that was refused, with words for the person.
    #[error("{0}")]
    Unproven(String),
    /// The token of the set-up link is none, or used up.
    #[error(
        "this set-up link is not valid (any more); restart the server, and it prints a new one if nobody has an \
         account yet"
    )]
    InvalidSetupToken,
    /// The token of a link in a mail is none, used up, or too old.
    #[error(
        "this link is not valid (any more): it was used, is too old, or a newer one was sent; ask for a new one"
    )]
    InvalidLink,
    /// It is not there, or the one who asks may not know that it is.
    #[error("there is no such thing here, or you may not see it")]
    NotFound,
    /// It cannot be done in this state of things.
    #[error("{0}")]
    Conflict(String),
    /// The request as a whole makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Single fields make no sense.
    #[error("some fields need another value")]
    Fields(Vec<FieldError>),
    /// Too often.
    #[error("too many attempts; wait {retry_after} seconds and try again")]
    RateLimited {
        /// In how many seconds it is worth another try.
        retry_after: u64,
    },
    /// The database said no.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Something else that is not the asker's fault.
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

impl Refusal {
    /// One refused field.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Self::Fields(vec![FieldError { field: field.to_owned(), message: message.into() }])
    }
}

/// Collects what is wrong with the fields of a request, so that a person gets
/// to read all of it at once.
#[derive(Debug, Default)]
pub struct Fields(Vec<FieldError>);

impl Fields {
    /// Refuses a field.
    pub fn refuse(&mut self, field: &str, message: impl Into<String>) {
        self.0.push(FieldError { field: field.to_owned(), message: message.into() });
    }

    /// Refuses a field if the check of it failed.
    pub fn check<E: ToString>(&mut self, field: &str, result: Result<(), E>) {
        if let Err(message) = result {
            self.refuse(field, message.to_string());
        }
    }

    /// # Errors
    /// When a field was refused.
    pub fn done(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::Fields(self.0)) }
    }
}
