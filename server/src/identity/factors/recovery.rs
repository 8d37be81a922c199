//! Recovery codes: for those who lost their passkey or their app for one-time
//! codes. Ten, shown once, each good for one use. They carry 120 bits of
//! chance, so a fast hash is enough (ASVS 6.5.2).

use devenv_cloud_api::{accounts::AuthMethod, audit::AuditAction, factors::RecoveryCodes, ids::UserId};

use super::store;
use crate::{
    app::AppParts,
    audit::{self, Event},
    clock::Random,
    identity::{
        principal::{SessionPrincipal, User},
        secret,
        session::Origin,
    },
    mail::notices,
    refusal::Refusal,
};

const COUNT: usize = 10;

/// Crockford's base 32: no letter that looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 24;
const GROUP: usize = 6;

fn new_code(random: &Random) -> String {
    let bytes: [u8; LENGTH] = random.bytes();
    let mut code = String::new();
    for (at, byte) in bytes.into_iter().enumerate() {
        if at > 0 && at % GROUP == 0 {
            code.push('-');
        }
        // 256 is a multiple of 32: no letter is likelier than another.
        code.push(char::from(ALPHABET[usize::from(byte % 32)]));
    }
    code
}

/// The code out of what people type.
fn normal(code: &str) -> Option<String> {
    if code.len() > 128 {
        return None;
    }
    let mut out = String::new();
    for c in code.chars().filter(|c| !c.is_whitespace() && *c != '-') {
        let c = match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        };
        if !u8::try_from(c).is_ok_and(|byte| ALPHABET.contains(&byte)) {
            return None;
        }
        out.push(c);
    }
    (out.len() == LENGTH).then_some(out)
}

fn hash(user: UserId, code: &str) -> Vec<u8> {
    let code: String = code.chars().filter(|c| *c != '-').collect();
    secret::hash(format!("{user}:{code}").as_bytes())
}

/// New codes; those before are dead.
///
/// # Errors
/// When there is nothing that could get lost.
pub async fn make(
    app: &AppParts,
    asker: &SessionPrincipal,
    origin: &Origin,
) -> Result<RecoveryCodes, Refusal> {
    if !asker.held.any() {
        return Err(Refusal::Conflict(
            "recovery codes are for when a passkey or an app for one-time codes is lost; add one of these first"
                .to_owned(),
        ));
    }
    let user = &asker.user;
    let codes: Vec<String> = (0..COUNT).map(|_| new_code(&app.random)).collect();
    let hashes: Vec<_> = codes.iter().map(|code| hash(user.id, code)).collect();
    let mut tx = app.db.begin().await?;
    store::replace_recovery_codes(&mut tx, user.id, &hashes, Some(app.clock.now())).await?;
    audit::record(app, &mut tx, Event::new(AuditAction::MakeRecoveryCodes, origin).by(user)).await?;
    notices::recovery_codes_made(app, &mut tx, user, origin).await?;
    tx.commit().await?;
    Ok(RecoveryCodes { codes })
}

/// Uses a code up.
///
/// # Errors
/// When it is none of theirs or used already, or it was tried too often.
pub async fn use_recovery_code(
    app: &AppParts,
    user: &User,
    code: &str,
    origin: &Origin,
) -> Result<(), Refusal> {
    app.identity.recovery.take(&user.id)?;
    let mut tx = app.db.begin().await?;
    let right = match normal(code) {
        Some(code) => {
            store::use_recovery_code(&mut tx, user.id, &hash(user.id, &code), app.clock.now()).await?
        }
        None => false,
    };
    let event = Event::new(AuditAction::UseRecoveryCode, origin).with(AuthMethod::RecoveryCode);
    if !right {
        audit::record(app, &mut tx, event.about(user).refused()).await?;
        tx.commit().await?;
        return Err(Refusal::Unproven(
            "this is none of your recovery codes, or it was used already".to_owned(),
        ));
    }
    audit::record(app, &mut tx, event.by(user)).await?;
    let (left, _) = store::recovery_codes_left(&mut tx, user.id).await?;
    notices::recovery_code_used(app, &mut tx, user, left, origin).await?;
    tx.commit().await?;
    app.identity.recovery.give_back(&user.id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_long_differ_and_are_read_as_people_type_them() {
        let random = Random::seeded(1);
        let code = new_code(&random);
        assert_eq!(code.len(), 27, "{code}");
        assert_ne!(code, new_code(&random));
        let plain = normal(&code).unwrap();
        assert_eq!(normal(&code.to_lowercase()), Some(plain.clone()));
        assert_eq!(normal(&format!(" {} ", code.replace('-', " "))), Some(plain.clone()));
        assert_eq!(normal(&code.replace('0', "o").replace('1', "l")), Some(plain));
        for wrong in ["", "1234", &code[1..], &format!("{code}0"), &code.replace(&code[..1], "ü")] {
            assert_eq!(normal(wrong), None, "{wrong}");
        }
    }
}
