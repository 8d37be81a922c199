//! To whom an account elsewhere leads. One decision, in one place: an account
//! here is never opened by an e-mail address alone (ASVS 6.8.1).

use devenv_cloud_api::ids::UserId;

/// Why they went to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// To sign in.
    SignIn,
    /// To link the account there with their own here, signed in and having just
    /// proved who they are.
    Link(UserId),
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The account there is linked with this one here: sign in.
    SignIn(UserId),
    /// Link it with this one.
    Link(UserId),
    /// It is linked with this one already, as wished.
    LinkedAlready(UserId),
    /// Somebody here has the same verified address: sign in first, then link.
    SignInFirst(UserId),
    /// A new account.
    Create,
    /// No, and why.
    Refuse(&'static str),
}

/// Decides. `linked`: with whom the account there is linked. `same_address`: who
/// here has the address that the provider says is verified. `creates`: whether
/// people may make accounts by way of this provider.
#[must_use]
pub fn decide(
    intent: Intent,
    linked: Option<UserId>,
    same_address: Option<UserId>,
    creates: bool,
) -> Decision {
    match (intent, linked, same_address) {
        (Intent::SignIn, Some(user), _) => Decision::SignIn(user),
        (Intent::SignIn, None, Some(user)) => Decision::SignInFirst(user),
        (Intent::SignIn, None, None) if creates => Decision::Create,
        (Intent::SignIn, None, None) => Decision::Refuse(
            "nobody here is linked with this account. If you have an account here, sign in with it and link the two \
             under Account, Security; if not, ask an administrator for an invitation",
        ),
        (Intent::Link(me), Some(user), _) if me == user => Decision::LinkedAlready(me),
        (Intent::Link(_), Some(_), _) => Decision::Refuse(
            "this account is linked with somebody else here; they have to remove the link before you can have it",
        ),
        // The address there may be any: both accounts were proved to be theirs.
        (Intent::Link(me), None, _) => Decision::Link(me),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_case_has_its_decision() {
        let (ada, bob) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let refused = |decision| matches!(decision, Decision::Refuse(_));
        for creates in [false, true] {
            // Whoever is linked signs in, whatever addresses say by now.
            assert_eq!(decide(Intent::SignIn, Some(ada), None, creates), Decision::SignIn(ada));
            assert_eq!(decide(Intent::SignIn, Some(ada), Some(ada), creates), Decision::SignIn(ada));
            assert_eq!(decide(Intent::SignIn, Some(ada), Some(bob), creates), Decision::SignIn(ada));
            // An address opens nothing.
            assert_eq!(decide(Intent::SignIn, None, Some(ada), creates), Decision::SignInFirst(ada));
            assert_eq!(decide(Intent::Link(ada), None, None, creates), Decision::Link(ada));
            assert_eq!(decide(Intent::Link(ada), None, Some(bob), creates), Decision::Link(ada));
            assert_eq!(decide(Intent::Link(ada), Some(ada), None, creates), Decision::LinkedAlready(ada));
            assert!(refused(decide(Intent::Link(ada), Some(bob), Some(ada), creates)));
        }
        assert_eq!(decide(Intent::SignIn, None, None, true), Decision::Create);
        assert!(refused(decide(Intent::SignIn, None, None, false)));
    }
}
