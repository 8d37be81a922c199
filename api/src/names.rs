//! Names that stand in addresses: of organisations and projects.

use std::{borrow::Borrow, fmt, ops::Deref, str::FromStr};

use serde::{Deserialize, Serialize};

/// First path segments that belong to the application itself, so that no
/// organisation can be called so.
pub const RESERVED: &[&str] = &[
    "account",
    "admin",
    "api",
    "assets",
    "auth",
    "confirm",
    "device",
    "docs",
    "favicon.ico",
    "health",
    "healthz",
    "help",
    "instance",
    "invitation",
    "login",
    "logout",
    "metrics",
    "new",
    "oauth",
    "orgs",
    "readyz",
    "reset",
    "robots.txt",
    "runners",
    "saml",
    "scim",
    "search",
    "settings",
    "setup",
    "sign-in",
    "sign-out",
    "sso",
    "static",
    "verify-email",
    "well-known",
];

/// The name of an organisation or project as it stands in addresses: 1 to 64
/// lower-case letters, digits and hyphens, beginning and ending with a letter
/// or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$", example = "acme"))]
pub struct Slug(String);

/// Why a [`Slug`] was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSlug {
    /// Nothing was given.
    #[error("a name cannot be empty")]
    Empty,
    /// More than 64 characters.
    #[error("a name has at most 64 characters")]
    TooLong,
    /// A character that has no place in an address.
    #[error("a name consists of lower-case letters, digits and hyphens; `{0}` is none of these")]
    Character(char),
    /// A hyphen at an end.
    #[error("a name begins and ends with a letter or a digit")]
    Hyphen,
}

impl FromStr for Slug {
    type Err = InvalidSlug;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if s.is_empty() {
            return Err(InvalidSlug::Empty);
        }
        if let Some(c) = s.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            return Err(InvalidSlug::Character(c));
        }
        if s.len() > 64 {
            return Err(InvalidSlug::TooLong);
        }
        if s.starts_with('-') || s.ends_with('-') {
            return Err(InvalidSlug::Hyphen);
        }
        Ok(Self(s.to_owned()))
    }
}

impl Slug {
    /// Whether this name is taken by the application itself (organisations only).
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        RESERVED.contains(&self.as_str())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Slug {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Deref for Slug {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Slug {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Slug {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "acme", "a-b", "0x", &"a".repeat(64)] {
            assert!(good.parse::<Slug>().is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", InvalidSlug::Empty),
            ("-a", InvalidSlug::Hyphen),
            ("a-", InvalidSlug::Hyphen),
            ("Acme", InvalidSlug::Character('A')),
            ("a/b", InvalidSlug::Character('/')),
            ("..", InvalidSlug::Character('.')),
            ("a b", InvalidSlug::Character(' ')),
            (&"a".repeat(65), InvalidSlug::TooLong),
        ] {
            assert_eq!(bad.parse::<Slug>(), Err(why), "{bad}");
        }
    }
}
