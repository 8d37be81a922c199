//! What a program asks for, in the words of OAuth's `scope`.

use std::fmt;

use devenv_cloud_api::{issuer::Claim, permissions::Scope};
use serde::{Deserialize, Serialize};

/// Every word that means something.
pub const SCOPES: &[&str] = &["openid", "profile", "email", "read", "write", "admin"];

/// What was asked for, without what means nothing here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scopes {
    /// What it would get to know about the person.
    pub claims: Vec<Claim>,
    /// What its token could be used for.
    pub api: Vec<Scope>,
}

impl Scopes {
    /// Reads them. Words that mean nothing here are passed over (RFC 6749 §3.3);
    /// the answer says what is left.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut scopes = Self::default();
        for word in text.split(' ') {
            if let Ok(claim) = word.parse() {
                scopes.claims.push(claim);
            } else if let Ok(scope) = word.parse() {
                scopes.api.push(scope);
            }
        }
        scopes.claims.sort_unstable();
        scopes.claims.dedup();
        scopes.api.sort_unstable();
        scopes.api.dedup();
        scopes
    }

    /// Whether this is among them.
    #[must_use]
    pub fn has(&self, claim: Claim) -> bool {
        self.claims.contains(&claim)
    }

    /// Whether nothing was asked for.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.api.is_empty()
    }

    /// Whether all of these are among `others`.
    #[must_use]
    pub fn within(&self, others: &Self) -> bool {
        self.claims.iter().all(|claim| others.claims.contains(claim))
            && self.api.iter().all(|scope| others.api.contains(scope))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.claims.iter().map(|claim| claim.as_str());
        let words: Vec<_> = words.chain(self.api.iter().map(|scope| scope.as_str())).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_and_written() {
        let scopes = Scopes::parse("write openid read phone  read offline_access email");
        assert_eq!(scopes.to_string(), "openid email read write");
        assert!(Scopes::parse("email").within(&scopes));
        assert!(!Scopes::parse("admin email").within(&scopes));
        assert!(Scopes::parse("phone ").is_empty());
        for word in SCOPES {
            assert_eq!(Scopes::parse(word).to_string(), *word);
        }
    }
}
