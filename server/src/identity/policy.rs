//! What sign-in takes: pure functions over what is asked for, what somebody
//! has, and what they used.

use chrono::TimeDelta;
use devenv_cloud_api::{
    Timestamp,
    accounts::{Assurance, AuthMethod},
    audit::AuditAction,
    factors::{SecondFactor, SignInPolicy, Standing},
};

use super::{principal::SessionPrincipal, session::Origin, store};
use crate::{
    app::AppParts,
    audit::{self, Event},
    db::DbError,
    refusal::Refusal,
};

/// A policy as it is stored, with the moment since when it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is asked for.
    pub second_factor: SecondFactor,
    /// How many days people have to set it up.
    pub grace_days: u32,
    /// Since when.
    pub since: Timestamp,
}

impl From<Policy> for SignInPolicy {
    fn from(Policy { second_factor, grace_days, .. }: Policy) -> Self {
        Self { second_factor, grace_days }
    }
}

/// The second factors that somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// At least one passkey.
    pub passkeys: bool,
    /// An app for one-time codes, confirmed.
    pub codes: bool,
}

impl Held {
    /// Whether there is any.
    #[must_use]
    pub const fn any(self) -> bool {
        self.passkeys || self.codes
    }

    /// The strongest proof that this person can give.
    #[must_use]
    pub const fn strongest(self) -> Strength {
        match self {
            Self { passkeys: true, .. } => Strength::PhishingResistant,
            Self { codes: true, .. } => Strength::Two,
            Self { .. } => Strength::One,
        }
    }
}

/// How strong a proof is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// One factor.
    One,
    /// Two factors, which an impostor's page could ask for as well.
    Two,
    /// A passkey with user verification: two factors, of no use to an impostor's page.
    PhishingResistant,
}

impl Strength {
    /// How strong these proofs are together. What a provider says is one factor:
    /// how it checked is its own affair.
    #[must_use]
    pub fn of(methods: &[AuthMethod]) -> Self {
        if methods.contains(&AuthMethod::Passkey) {
            return Self::PhishingResistant;
        }
        let first = [AuthMethod::Password, AuthMethod::Federated].iter().any(|m| methods.contains(m));
        let second = [AuthMethod::OneTimeCode, AuthMethod::RecoveryCode].iter().any(|m| methods.contains(m));
        if first && second { Self::Two } else { Self::One }
    }

    /// The same as a level of assurance.
    #[must_use]
    pub const fn assurance(self) -> Assurance {
        match self {
            Self::One => Assurance::Single,
            Self::Two | Self::PhishingResistant => Assurance::Multi,
        }
    }
}

impl Policy {
    /// What a person must have and use.
    const fn asked(&self) -> Strength {
        match self.second_factor {
            SecondFactor::Optional => Strength::One,
            SecondFactor::Required => Strength::Two,
            SecondFactor::PhishingResistant => Strength::PhishingResistant,
        }
    }

    /// Until when somebody whose account is from `since` has time to set it up.
    #[must_use]
    pub fn due_at(&self, since: Timestamp) -> Timestamp {
        self.since.max(since) + TimeDelta::days(i64::from(self.grace_days))
    }

    /// Where somebody stands who has `held`, signed in with a proof of strength
    /// `used` (`None`: a token, which proves nobody's presence), and whose
    /// account is from `since`.
    #[must_use]
    pub fn standing(&self, held: Held, used: Option<Strength>, since: Timestamp, now: Timestamp) -> Standing {
        let asked = self.asked();
        if asked == Strength::One {
            return Standing::Fine;
        }
        if held.strongest() < asked {
            return if now < self.due_at(since) { Standing::Grace } else { Standing::MustEnrol };
        }
        match used {
            Some(used) if used < asked => Standing::MustProve,
            _ => Standing::Fine,
        }
    }

    /// In words, for the audit log.
    #[must_use]
    pub fn words(&self) -> String {
        format!("second factor: {}, {} days of grace", self.second_factor, self.grace_days)
    }

    /// Whether somebody with `held` would have too little, days of grace or not.
    #[must_use]
    pub fn lacks(&self, held: Held) -> bool {
        held.strongest() < self.asked()
    }
}

/// A policy that somebody wishes, from now on; the days of grace begin anew if
/// it asks for more than the one before.
///
/// # Errors
/// When it makes no sense, or nobody could do what it asks for.
pub fn new_policy(app: &AppParts, before: &Policy, wanted: SignInPolicy) -> Result<Policy, Refusal> {
    let SignInPolicy { second_factor, grace_days } = wanted;
    let now = app.clock.now();
    if second_factor == SecondFactor::PhishingResistant && app.identity.passkeys.is_none() {
        return Err(Refusal::field(
            "second_factor",
            "nobody can have a passkey here: they need an https address with a host name (`server.base_url`)",
        ));
    }
    if grace_days > 90 {
        return Err(Refusal::field("grace_days", "people have 0 to 90 days"));
    }
    let since = if second_factor > before.second_factor { now } else { before.since };
    Ok(Policy { second_factor, grace_days, since })
}

/// What the instance asks of everybody's sign-in.
///
/// # Errors
/// When the database says no.
pub async fn instance_policy(app: &AppParts) -> Result<Policy, DbError> {
    store::instance_policy(&app.db).await
}

/// Changes it, for an administrator of the instance.
///
/// # Errors
/// When it makes no sense.
pub async fn set_instance_policy(
    app: &AppParts,
    asker: &SessionPrincipal,
    wanted: SignInPolicy,
    origin: &Origin,
) -> Result<Policy, Refusal> {
    let mut tx = app.db.begin().await?;
    let policy = new_policy(app, &store::instance_policy(&mut tx).await?, wanted)?;
    store::set_instance_policy(&mut tx, &policy).await?;
    let event = Event::new(AuditAction::ChangePolicy, origin).by(&asker.user);
    audit::record(app, &mut tx, event.target(&policy.words())).await?;
    tx.commit().await?;
    Ok(policy)
}

/// The stricter of two.
#[must_use]
pub(super) const fn worse(one: Standing, other: Standing) -> Standing {
    match (one, other) {
        (Standing::MustEnrol, _) | (_, Standing::MustEnrol) => Standing::MustEnrol,
        (Standing::MustProve, _) | (_, Standing::MustProve) => Standing::MustProve,
        (Standing::Grace, _) | (_, Standing::Grace) => Standing::Grace,
        (Standing::Fine, Standing::Fine) => Standing::Fine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Held = Held { passkeys: false, codes: false };
    const CODES: Held = Held { passkeys: false, codes: true };
    const KEY: Held = Held { passkeys: true, codes: false };
    const BOTH: Held = Held { passkeys: true, codes: true };

    #[test]
    fn proofs_are_as_strong_as_they_are_together() {
        use AuthMethod::{Federated, OneTimeCode, Passkey, Password, RecoveryCode};
        for (methods, strength) in [
            (&[Password][..], Strength::One),
            (&[Federated], Strength::One),
            (&[OneTimeCode], Strength::One),
            (&[Password, Federated], Strength::One),
            (&[OneTimeCode, RecoveryCode], Strength::One),
            (&[Password, OneTimeCode], Strength::Two),
            (&[Federated, RecoveryCode], Strength::Two),
            (&[Passkey], Strength::PhishingResistant),
            (&[Password, Passkey], Strength::PhishingResistant),
        ] {
            assert_eq!(Strength::of(methods), strength, "{methods:?}");
        }
    }

    #[test]
    fn everybody_stands_where_the_table_says() {
        use SecondFactor::{Optional, PhishingResistant, Required};
        use Standing::{Fine, Grace, MustEnrol, MustProve};
        use Strength::{One, Two};
        let day = |n: i64| Timestamp::UNIX_EPOCH + TimeDelta::days(n);
        // What is asked for on day 10 with 7 days of grace; what they have and
        // used; how old the account is; today; where they stand.
        for (asked, held, used, since, today, standing) in [
            (Optional, NONE, Some(One), 0, 100, Fine),
            (Optional, KEY, Some(One), 0, 100, Fine),
            (Required, NONE, Some(One), 0, 10, Grace),
            (Required, NONE, Some(One), 0, 16, Grace),
            (Required, NONE, Some(One), 0, 17, MustEnrol),
            // Who came later has as many days.
            (Required, NONE, Some(One), 15, 21, Grace),
            (Required, NONE, Some(One), 15, 22, MustEnrol),
            // Tokens do not go around it.
            (Required, NONE, None, 0, 17, MustEnrol),
            (Required, CODES, None, 0, 17, Fine),
            (Required, CODES, Some(Two), 0, 17, Fine),
            // Who has it uses it, grace or not.
            (Required, CODES, Some(One), 0, 10, MustProve),
            (Required, KEY, Some(Strength::PhishingResistant), 0, 17, Fine),
            (PhishingResistant, CODES, Some(Two), 0, 11, Grace),
            (PhishingResistant, CODES, Some(Two), 0, 17, MustEnrol),
            (PhishingResistant, BOTH, Some(Two), 0, 17, MustProve),
            (PhishingResistant, BOTH, Some(Strength::PhishingResistant), 0, 17, Fine),
            (PhishingResistant, CODES, None, 0, 17, MustEnrol),
        ] {
            let policy = Policy { second_factor: asked, grace_days: 7, since: day(10) };
            assert_eq!(
                policy.standing(held, used, day(since), day(today)),
                standing,
                "{asked} {held:?} {used:?} since {since} today {today}"
            );
        }
    }
}
