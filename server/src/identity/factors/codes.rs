//! One-time codes by time (RFC 6238): SHA-1, six digits, thirty seconds, as
//! every app understands them. A code counts once, also in two browsers at the
//! same moment, and none that is older than one that was used.

use devenv_cloud_api::{accounts::AuthMethod, audit::AuditAction, factors::NewCodes};
use qrcodegen::{QrCode, QrCodeEcc};
use totp_rs::{Builder, Secret, Totp};
use tower_sessions::Session;

use super::store;
use crate::{
    app::AppParts,
    audit::{self, Event},
    identity::{
        principal::{SessionPrincipal, User},
        session::{self, Origin},
    },
    mail::notices,
    refusal::Refusal,
};

/// What the secret is sealed for.
const PURPOSE: &str = "one-time code secret";

/// How many steps of thirty seconds the person's clock may be off.
const SKEW: u16 = 1;

fn totp(app: &AppParts, email: &str, secret: &[u8]) -> Result<Totp, Refusal> {
    // A colon would end the issuer's name in the address.
    let host = app.config.server.base_url.split_once("://").map_or("", |(_, host)| host);
    let issuer = format!("devenv cloud {}", host.split(['/', ':']).next().unwrap_or_default());
    Builder::new()
        .with_secret(Secret::from(secret))
        .with_skew(SKEW)
        .with_account_name(email.replace(':', " "))
        .with_issuer(Some(issuer.trim()))
        .build()
        .map_err(|e| Refusal::Failed(anyhow::anyhow!("a secret of one-time codes cannot be used: {e}")))
}

/// A new secret, which counts once it is confirmed by [`confirm`].
///
/// # Errors
/// When there is a confirmed one already.
pub async fn begin(app: &AppParts, asker: &SessionPrincipal) -> Result<NewCodes, Refusal> {
    // 160 bits, as RFC 4226 §4 recommends.
    let secret: [u8; 20] = app.random.bytes();
    let sealed = app.seal.seal(PURPOSE, &secret).map_err(Refusal::Failed)?;
    if !store::put_codes(&app.db, asker.user.id, &sealed, app.clock.now()).await? {
        return Err(already());
    }
    let totp = totp(app, &asker.user.email, &secret)?;
    let uri = totp.to_url().map_err(|e| Refusal::Failed(anyhow::anyhow!("no address for an app: {e}")))?;
    Ok(NewCodes { secret: Secret::from(secret.as_slice()).to_base32(), qr: qr(&uri)?, uri })
}

fn already() -> Refusal {
    Refusal::Conflict(
        "you have an app for one-time codes already; remove it before you add another one".to_owned(),
    )
}

/// The modules of a QR code, row by row.
fn qr(text: &str) -> Result<Vec<String>, Refusal> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium)
        .map_err(|e| Refusal::Failed(anyhow::anyhow!("no QR code: {e}")))?;
    let row = |y| (0..code.size()).map(|x| if code.get_module(x, y) { '1' } else { '0' }).collect();
    Ok((0..code.size()).map(row).collect())
}

/// Confirms the new secret by a code of it. From here on it is asked for.
///
/// # Errors
/// When the code is wrong, or there is nothing to confirm.
pub async fn confirm(
    app: &AppParts,
    browser: &Session,
    asker: &SessionPrincipal,
    code: &str,
    origin: &Origin,
) -> Result<(), Refusal> {
    let user = &asker.user;
    app.identity.codes.take(&user.id)?;
    let row = store::codes(&app.db, user.id).await?;
    let Some(row) = row else {
        return Err(Refusal::Conflict("there is nothing to confirm; begin anew".to_owned()));
    };
    if row.confirmed_at.is_some() {
        return Err(already());
    }
    let step = matching_step(app, user, &row.secret, code)?;
    let Some(step) = step else {
        return Err(Refusal::field("code", "this is not the code of the moment; check your device's clock"));
    };
    let mut tx = app.db.begin().await?;
    if !store::confirm_codes(&mut tx, user.id, &row.secret, step, app.clock.now()).await? {
        return Err(already());
    }
    audit::record(app, &mut tx, Event::new(AuditAction::AddCodes, origin).by(user)).await?;
    notices::codes_added(app, &mut tx, user, origin).await?;
    tx.commit().await?;
    app.identity.codes.give_back(&user.id);
    session::reauthenticated(app, browser, asker.held, AuthMethod::OneTimeCode).await
}

/// Takes the app away.
///
/// # Errors
/// When there is none, or too little would be left.
pub async fn remove(app: &AppParts, asker: &SessionPrincipal, origin: &Origin) -> Result<(), Refusal> {
    let mut tx = app.db.begin().await?;
    if !store::delete_codes(&mut tx, asker.user.id).await? {
        return Err(Refusal::NotFound);
    }
    super::require_enough_left(&mut tx, asker.user.id).await?;
    super::forget_useless_recovery_codes(&mut tx, asker.user.id).await?;
    audit::record(app, &mut tx, Event::new(AuditAction::RemoveCodes, origin).by(&asker.user)).await?;
    notices::codes_removed(app, &mut tx, &asker.user, origin).await?;
    tx.commit().await?;
    Ok(())
}

/// Whether this is the person's code now; then it is used up. `what` it is for
/// stands in the audit log if it is refused.
///
/// # Errors
/// When it is not, or it was tried too often: by anybody who knows the first
/// proof, and then the person still has their other ways.
pub async fn check_code(
    app: &AppParts,
    user: &User,
    code: &str,
    what: AuditAction,
    origin: &Origin,
) -> Result<(), Refusal> {
    app.identity.codes.take(&user.id)?;
    let row = store::codes(&app.db, user.id).await?.filter(|row| row.confirmed_at.is_some());
    let step = match row {
        Some(row) => matching_step(app, user, &row.secret, code)?,
        None => None,
    };
    let used = match step {
        Some(step) => store::use_step(&app.db, user.id, step).await?,
        None => false,
    };
    if used {
        app.identity.codes.give_back(&user.id);
        return Ok(());
    }
    let event = Event::new(what, origin).about(user).with(AuthMethod::OneTimeCode).refused();
    audit::record(app, &app.db, event).await?;
    // A code that was used is told apart from a wrong one: whoever has it knows it.
    Err(Refusal::Unproven(if step.is_some() {
        "this code was used already; wait for the next one".to_owned()
    } else {
        "this is not the code of the moment; wait for the next one, and check your device's clock".to_owned()
    }))
}

fn matching_step(app: &AppParts, user: &User, sealed: &[u8], code: &str) -> Result<Option<u64>, Refusal> {
    let Some(code) = normal(code) else { return Ok(None) };
    let secret = app.seal.open(PURPOSE, sealed).map_err(Refusal::Failed)?;
    let time = u64::try_from(app.clock.now().timestamp()).unwrap_or_default();
    Ok(totp(app, &user.email, &secret)?.check(&code, time))
}

/// Six digits out of what people type: with spaces and hyphens, in whatever
/// digits their keyboard has.
fn normal(code: &str) -> Option<String> {
    if code.len() > 64 {
        return None;
    }
    let mut digits = String::new();
    for c in code.chars().filter(|c| !c.is_whitespace() && *c != '-') {
        let c = match c {
            // Full-width forms of East Asian keyboards.
            '\u{ff10}'..='\u{ff19}' => char::from_digit(u32::from(c) - 0xff10, 10)?,
            '0'..='9' => c,
            _ => return None,
        };
        digits.push(c);
    }
    (digits.len() == 6).then_some(digits)
}

#[cfg(test)]
mod tests {
    use totp_rs::Algorithm;

    use super::*;

    /// OT-01: the vectors of RFC 6238, appendix B.
    #[test]
    fn ot_01_the_vectors_of_the_standard_hold() {
        let seed =
            |length: usize| -> Vec<u8> { b"1234567890".iter().copied().cycle().take(length).collect() };
        for (time, sha1, sha256, sha512) in [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (1_111_111_111, "14050471", "67062674", "99943326"),
            (1_234_567_890, "89005924", "91819424", "93441116"),
            (2_000_000_000, "69279037", "90698825", "38618901"),
            (20_000_000_000, "65353130", "77737706", "47863826"),
        ] {
            for (algorithm, length, code) in [
                (Algorithm::SHA1, 20, sha1),
                (Algorithm::SHA256, 32, sha256),
                (Algorithm::SHA512, 64, sha512),
            ] {
                let totp = Builder::new()
                    .with_algorithm(algorithm)
                    .with_digits(8)
                    .with_skew(0)
                    .with_secret(Secret::from(seed(length).as_slice()))
                    .build()
                    .unwrap();
                assert_eq!(totp.check(code, time), Some(time / 30), "{time}");
                assert_eq!(totp.check(code, time + 30), None);
            }
        }
    }

    /// OT-09: codes as people type them.
    #[test]
    fn ot_09_codes_are_read_as_people_type_them() {
        for (typed, read) in [
            ("123456", Some("123456")),
            (" 123 456 ", Some("123456")),
            ("012-345", Some("012345")),
            ("\u{ff10}\u{ff11}\u{ff12}\u{ff13}\u{ff14}\u{ff15}", Some("012345")),
            ("12345", None),
            ("1234567", None),
            ("12345a", None),
            ("", None),
            ("-1+234", None),
        ] {
            assert_eq!(normal(typed).as_deref(), read, "{typed:?}");
        }
        assert_eq!(normal(&" ".repeat(1000)), None);
    }
}
