//! Values on their way into a statement.

use devenv_cloud_api::{Timestamp, ids, names::Slug, permissions, runs};
use uuid::Uuid;

/// One parameter of a statement. `None` is a typed NULL: PostgreSQL wants to
/// know the type of what is not there.
#[derive(Clone, Debug)]
pub enum Value {
    /// An id.
    Id(Option<Uuid>),
    /// An instant.
    Time(Option<Timestamp>),
    /// Text.
    Text(Option<String>),
    /// A whole number.
    Int(Option<i64>),
    /// Yes or no.
    Bool(Option<bool>),
    /// Bytes.
    Bytes(Option<Vec<u8>>),
}

macro_rules! into_value {
    ($($from:ty => |$x:ident| $variant:ident($value:expr);)*) => {$(
        impl From<$from> for Value {
            fn from($x: $from) -> Self {
                Self::$variant(Some($value))
            }
        }
        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Self {
                Self::$variant(value.map(|$x| $value))
            }
        }
    )*};
}

into_value! {
    Uuid => |x| Id(x);
    ids::UserId => |x| Id(x.0);
    ids::OrgId => |x| Id(x.0);
    ids::ProjectId => |x| Id(x.0);
    ids::RunId => |x| Id(x.0);
    ids::JobId => |x| Id(x.0);
    ids::AttemptId => |x| Id(x.0);
    ids::RunnerId => |x| Id(x.0);
    ids::RunnerTokenId => |x| Id(x.0);
    ids::TokenId => |x| Id(x.0);
    ids::SessionId => |x| Id(x.0);
    ids::PasskeyId => |x| Id(x.0);
    ids::LinkId => |x| Id(x.0);
    ids::InvitationId => |x| Id(x.0);
    ids::MailId => |x| Id(x.0);
    ids::AuditId => |x| Id(x.0);
    Timestamp => |x| Time(x);
    String => |x| Text(x);
    &str => |x| Text(x.to_owned());
    &String => |x| Text(x.clone());
    &Slug => |x| Text(x.to_string());
    permissions::Role => |x| Text(x.as_str().to_owned());
    runs::State => |x| Text(x.as_str().to_owned());
    runs::Trigger => |x| Text(x.as_str().to_owned());
    runs::Stage => |x| Text(x.as_str().to_owned());
    runs::Step => |x| Text(x.as_str().to_owned());
    runs::MachineStart => |x| Text(x.as_str().to_owned());
    i64 => |x| Int(x);
    i32 => |x| Int(i64::from(x));
    u32 => |x| Int(i64::from(x));
    u64 => |x| Int(i64::try_from(x).unwrap_or(i64::MAX));
    bool => |x| Bool(x);
    Vec<u8> => |x| Bytes(x);
    &[u8] => |x| Bytes(x.to_vec());
}
