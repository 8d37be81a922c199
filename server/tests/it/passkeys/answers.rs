//! What browsers and authenticators answer. Each wrong answer is the right one
//! with one thing wrong, and the right one is accepted afterwards.

use chrono::TimeDelta;
use devenv_cloud_api::{
    audit::AuditOutcome,
    factors::{Ceremony, Passkey},
};
use serde_json::json;

use super::{MAIL, assert_unproven, factors, with_passkey};
use crate::support::{
    PASSWORD, TestApp,
    authenticator::{Algorithm, Answer, Attestation, Key},
};

type Change = fn(&mut Answer);

/// What can be wrong with an answer, whatever it is the answer to.
const WRONG: &[(&str, Change)] = &[
    ("WA-03 another origin", |a| a.origin = "https://evil.example".into()),
    ("WA-03 a subdomain", |a| a.origin = "https://x.ci.example.com".into()),
    ("WA-03 the domain above", |a| a.origin = "https://example.com".into()),
    ("WA-03 a longer name", |a| a.origin = "https://ci.example.com.evil.example".into()),
    ("WA-03 another port", |a| a.origin = "https://ci.example.com:8443".into()),
    ("WA-03 without TLS", |a| a.origin = "http://ci.example.com".into()),
    ("WA-03 a frame", |a| a.cross_origin = true),
    ("WA-03 a frame of another page", |a| a.top_origin = Some("https://evil.example".into())),
    ("the other ceremony's type", |a| {
        a.kind = if a.kind == "webauthn.get" { "webauthn.create" } else { "webauthn.get" };
    }),
    ("another challenge", |a| a.challenge = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into()),
    ("WA-04 another server's name", |a| a.rp_id = "evil.example".into()),
    ("WA-04 the domain above", |a| a.rp_id = "example.com".into()),
    ("WA-05 nobody was there", |a| a.present = false),
    ("WA-05 nobody was verified", |a| a.verified = false),
    ("WA-09 a copy of what cannot be copied", |a| a.backed_up = true),
];

both_engines! {
    async fn options_ask_for_keys_that_are_found_and_people_who_are_verified(app: TestApp) {
        let person = app.person("person").await;
        let options = person.begin_passkey().await.options;
        let selection = &options["publicKey"]["authenticatorSelection"];
        assert_eq!(selection["residentKey"], "required");
        assert_eq!(selection["requireResidentKey"], true);
        assert_eq!(selection["userVerification"], "required");
        assert_eq!(options["publicKey"]["attestation"], "none");
        assert_eq!(options["publicKey"]["rp"]["id"], "ci.example.com");
        // The handle says nothing, and stays the same.
        let handle = options["publicKey"]["user"]["id"].clone();
        assert_eq!(person.begin_passkey().await.options["publicKey"]["user"]["id"], handle);
        let id = person.user_id().await.0;
        use base64::Engine as _;
        let b64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        assert_ne!(b64.decode(handle.as_str().unwrap()).unwrap(), id.as_bytes());
        // Keys that are there already are named, so that none is made twice on one device.
        let (key, _) = person.add_passkey("laptop").await;
        let options = person.begin_passkey().await.options;
        let known = options["publicKey"]["excludeCredentials"].as_array().unwrap().clone();
        assert_eq!(known.len(), 1);
        assert_eq!(known[0]["id"], b64.encode(&key.id));

        let begun = app.browser().begin_sign_in().await.options;
        assert_eq!(begun["publicKey"]["userVerification"], "required");
        assert!(begun["publicKey"]["allowCredentials"].as_array().is_none_or(Vec::is_empty), "{begun}");
        // 256 bits (ASVS 6.7.2), another one each time.
        let challenge = |options: &serde_json::Value| {
            b64.decode(options["publicKey"]["challenge"].as_str().unwrap()).unwrap()
        };
        assert!(challenge(&begun).len() >= 16);
        assert_ne!(challenge(&begun), challenge(&app.browser().begin_sign_in().await.options));
    }

    /// WA-01
    async fn wa_01_a_ceremony_is_good_once_and_for_five_minutes(app: TestApp) {
        let (person, mut key, _) = with_passkey(&app).await;
        // Once, also if it failed.
        let browser = app.browser();
        let Ceremony { ceremony, options } = browser.begin_sign_in().await;
        let answer = key.answer(&options);
        let wrong = key.answer_with(&options, |a| a.forged = true);
        assert_unproven(&browser.finish_sign_in(&ceremony, &wrong).await, "forged");
        assert_unproven(&browser.finish_sign_in(&ceremony, &answer).await, "after a wrong answer");
        let Ceremony { ceremony, options } = browser.begin_sign_in().await;
        let answer = key.answer(&options);
        browser.finish_sign_in(&ceremony, &answer).await.assert_status(200);
        assert_unproven(&app.browser().finish_sign_in(&ceremony, &answer).await, "replayed");

        // Five minutes.
        for (seconds, fine) in [(299, true), (300, false)] {
            let begun = [browser.begin_sign_in().await, person.begin_step_up().await];
            app.advance(TimeDelta::seconds(seconds));
            let answers: Vec<_> = begun.iter().map(|c| key.answer(&c.options)).collect();
            let sign_in = app.browser().finish_sign_in(&begun[0].ceremony, &answers[0]).await;
            let step_up = person.finish_step_up(&begun[1].ceremony, &answers[1]).await;
            assert_eq!((sign_in.status == 200, step_up.status == 204), (fine, fine), "{seconds}");
        }
    }

    /// WA-01
    async fn wa_01_a_ceremony_is_for_one_thing_one_session_and_one_person(app: TestApp) {
        let (person, mut key, _) = with_passkey(&app).await;
        let other_session = app.browser();
        other_session.sign_in_with(&mut key).await.assert_status(200);
        let stranger = app.person("stranger").await;
        let (mut strangers, _) = stranger.add_passkey("theirs").await;

        // Begun to step up, used to sign in; and the other way round.
        let begun = person.begin_step_up().await;
        let answer = key.answer(&begun.options);
        assert_unproven(&app.browser().finish_sign_in(&begun.ceremony, &answer).await, "step-up to sign in");
        let begun = app.browser().begin_sign_in().await;
        let answer = key.answer(&begun.options);
        assert_unproven(&person.finish_step_up(&begun.ceremony, &answer).await, "sign-in to step up");

        // Begun in one session, used in another one of the same person.
        let begun = person.begin_step_up().await;
        let answer = key.answer(&begun.options);
        assert_unproven(&other_session.finish_step_up(&begun.ceremony, &answer).await, "another session");
        // Begun by one person, used by another one.
        let begun = person.begin_step_up().await;
        let answer = strangers.answer(&begun.options);
        assert_unproven(&stranger.finish_step_up(&begun.ceremony, &answer).await, "another person");

        // The second step of one sign-in in another browser's.
        let browser = app.browser();
        browser.sign_in(MAIL, PASSWORD).await.assert_status(403);
        let begun = browser.begin_sign_in().await;
        let answer = key.answer(&begun.options);
        assert_unproven(&app.browser().finish_sign_in(&begun.ceremony, &answer).await, "no first proof");

        // Adding: another session of the same person, another person.
        for thief in [&other_session, &stranger] {
            let begun = person.begin_passkey().await;
            let (_, credential) = Key::make(&begun.options);
            assert_unproven(&thief.finish_passkey(&begun.ceremony, "x", &credential).await, "adding");
        }
        let begun = person.begin_passkey().await;
        let (_, credential) = Key::make(&begun.options);
        person.finish_passkey(&begun.ceremony, "x", &credential).await.assert_status(201);
    }

    /// WA-02
    async fn wa_02_a_registration_works_once(app: TestApp) {
        let person = app.person("person").await;
        let Ceremony { ceremony, options } = person.begin_passkey().await;
        let (_, credential) = Key::make(&options);
        person.finish_passkey(&ceremony, "laptop", &credential).await.assert_status(201);
        let again = person.finish_passkey(&ceremony, "laptop", &credential).await;
        assert_eq!((again.status.as_u16(), again.problem().kind.as_str()), (403, "unproven"));
        // The same answer to another question.
        let other = person.begin_passkey().await;
        assert_unproven(&person.finish_passkey(&other.ceremony, "laptop", &credential).await, "replayed");
        assert_eq!(factors(&person).await.passkeys.len(), 1);
        // A refused name uses nothing up.
        let begun = person.begin_passkey().await;
        let (_, credential) = Key::make(&begun.options);
        person.finish_passkey(&begun.ceremony, " ", &credential).await.assert_status(422);
        person.finish_passkey(&begun.ceremony, "phone", &credential).await.assert_status(201);
    }

    /// WA-03, WA-04, WA-05, WA-09
    async fn wa_03_wa_04_wa_05_an_answer_with_one_thing_wrong_is_refused(app: TestApp) {
        let (person, mut key, _) = with_passkey(&app).await;
        for (what, change) in WRONG {
            let Ceremony { ceremony, options } = person.begin_passkey().await;
            let (_, credential) = Key::make_with(&options, change);
            let added = person.finish_passkey(&ceremony, "x", &credential).await;
            assert_unproven(&added, &format!("adding: {what}"));

            let browser = app.browser();
            let Ceremony { ceremony, options } = browser.begin_sign_in().await;
            let answer = key.answer_with(&options, change);
            assert_unproven(&browser.finish_sign_in(&ceremony, &answer).await, &format!("sign-in: {what}"));
            browser.get("/api/v1/session").await.assert_status(401);

            let Ceremony { ceremony, options } = person.begin_step_up().await;
            let answer = key.answer_with(&options, change);
            assert_unproven(&person.finish_step_up(&ceremony, &answer).await, &format!("step-up: {what}"));
        }
        app.browser().sign_in_with(&mut key).await.assert_status(200);
        person.step_up_with(&mut key).await.assert_status(204);
        assert_eq!(factors(&person).await.passkeys.len(), 1);
    }

    /// WA-06
    async fn wa_06_a_counter_that_goes_back_is_refused_and_told(app: TestApp) {
        let (person, mut key, _) = with_passkey(&app).await;
        let codes = person.add_codes().await;
        for _ in 0..3 {
            app.browser().sign_in_with(&mut key).await.assert_status(200);
        }
        let mut copy = key.clone();
        app.browser().sign_in_with(&mut key).await.assert_status(200);
        // The copy counts on from where it was made.
        let refused = app.browser().sign_in_with(&mut copy).await;
        assert_unproven(&refused, "the copy");
        assert!(refused.problem().detail.unwrap().contains("copy"));
        assert_eq!(app.audited("passkey.suspect", AuditOutcome::Refused).await, 1);
        let entry = app.audit().await.into_iter().find(|e| e.action.as_str() == "passkey.suspect").unwrap();
        assert_eq!(entry.subject, MAIL);
        // Also for a step-up, also if the question was asked before the owner answered theirs.
        let mut copy = key.clone();
        let early = person.begin_step_up().await;
        person.step_up_with(&mut key).await.assert_status(204);
        let answer = copy.answer(&early.options);
        assert_unproven(&person.finish_step_up(&early.ceremony, &answer).await, "the same count again");
        assert_eq!(app.audited("passkey.suspect", AuditOutcome::Refused).await, 2);
        // Other ways still work.
        let browser = app.browser();
        browser.sign_in(MAIL, PASSWORD).await.assert_status(403);
        browser.give_code("sign-in/code", &codes.code()).await.assert_status(200);
        browser.viewer().await;
    }

    /// WA-06: synced passkeys do not count.
    async fn wa_06_a_passkey_that_does_not_count_is_fine(app: TestApp) {
        let person = app.person("person").await;
        let Ceremony { ceremony, options } = person.begin_passkey().await;
        let (mut key, credential) = Key::make_with(&options, |a| (a.eligible, a.backed_up) = (true, true));
        key.counter = None;
        let listed: Passkey =
            person.finish_passkey(&ceremony, "phone", &credential).await.assert_status(201).json();
        assert!(listed.synced);
        for _ in 0..3 {
            app.browser().sign_in_with(&mut key).await.assert_status(200);
        }
        // No two answers at once get in each other's way.
        let (one, other) = (app.browser(), app.browser());
        let mut twin = key.clone();
        let (a, b) = futures::join!(one.sign_in_with(&mut key), other.sign_in_with(&mut twin));
        a.assert_status(200);
        b.assert_status(200);
    }

    /// WA-07
    async fn wa_07_a_passkey_proves_only_its_owner(app: TestApp) {
        let (person, mut key, _) = with_passkey(&app).await;
        let stranger = app.person("stranger").await;
        let (mut strangers, _) = stranger.add_passkey("theirs").await;

        // The stranger's key says that it is the person's; or nothing; or nonsense.
        for handle in [Some(key.handle.clone()), None, Some(vec![0; 16]), Some(vec![]), Some(vec![1; 64])] {
            let browser = app.browser();
            let Ceremony { ceremony, options } = browser.begin_sign_in().await;
            let answer = strangers.answer_with(&options, |a| a.handle.clone_from(&handle));
            assert_unproven(&browser.finish_sign_in(&ceremony, &answer).await, &format!("{handle:?}"));
        }
        // As the second factor of the person.
        let browser = app.browser();
        browser.sign_in(MAIL, PASSWORD).await.assert_status(403);
        let Ceremony { ceremony, options } = browser.begin_sign_in().await;
        let answer = strangers.answer(&options);
        assert_unproven(&browser.finish_sign_in(&ceremony, &answer).await, "as the second factor");
        // With a question that was asked when nobody was known.
        let begun = app.browser().begin_sign_in().await;
        let answer = strangers.answer(&begun.options);
        assert_unproven(&browser.finish_sign_in(&begun.ceremony, &answer).await, "a question for all");
        // The person's own key that says it is the stranger's.
        let Ceremony { ceremony, options } = browser.begin_sign_in().await;
        let answer = key.answer_with(&options, |a| a.handle = Some(strangers.handle.clone()));
        assert_unproven(&browser.finish_sign_in(&ceremony, &answer).await, "another's handle");
        // After a first proof an authenticator need not say whose key it is.
        let Ceremony { ceremony, options } = browser.begin_sign_in().await;
        let answer = key.answer_with(&options, |a| a.handle = None);
        browser.finish_sign_in(&ceremony, &answer).await.assert_status(200);
        assert_eq!(browser.viewer().await.user.email, MAIL);

        let Ceremony { ceremony, options } = person.begin_step_up().await;
        let answer = strangers.answer(&options);
        assert_unproven(&person.finish_step_up(&ceremony, &answer).await, "as a step-up");
    }

    /// WA-10
    async fn wa_10_an_unknown_credential_and_a_wrong_signature_look_alike(app: TestApp) {
        let (person, mut key, _) = with_passkey(&app).await;
        let changes: [Change; 4] = [
            |a| a.id = vec![7; 20],
            |a| a.forged = true,
            |a| a.handle = Some(vec![9; 16]),
            |a| (a.id, a.handle) = (vec![7; 20], Some(vec![9; 16])),
        ];
        let mut seen = Vec::new();
        for change in changes {
            let browser = app.browser();
            let Ceremony { ceremony, options } = browser.begin_sign_in().await;
            let answer = key.answer_with(&options, change);
            let refused = browser.finish_sign_in(&ceremony, &answer).await;
            assert_unproven(&refused, "sign-in");
            seen.push((refused.body, refused.headers));
            // The same of a key that is asked for.
            let Ceremony { ceremony, options } = person.begin_step_up().await;
            let answer = key.answer_with(&options, change);
            let refused = person.finish_step_up(&ceremony, &answer).await;
            assert_unproven(&refused, "step-up");
            seen.push((refused.body, refused.headers));
        }
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
        assert_eq!(app.audited("sign-in", AuditOutcome::Refused).await, 8);
        app.browser().sign_in_with(&mut key).await.assert_status(200);
    }

    /// WA-14
    async fn wa_14_keys_of_every_algorithm_that_is_asked_for_work(app: TestApp) {
        let person = app.person("person").await;
        let asked = person.begin_passkey().await.options;
        let asked: Vec<_> = asked["publicKey"]["pubKeyCredParams"].as_array().unwrap().clone();
        let all = [Algorithm::Es256, Algorithm::Es384, Algorithm::Rs256];
        assert_eq!(asked.len(), all.len(), "one is asked for that is not tested: {asked:?}");
        for algorithm in all {
            for attestation in [Attestation::None, Attestation::Packed, Attestation::PackedForged] {
                let Ceremony { ceremony, options } = person.begin_passkey().await;
                let (mut key, credential) =
                    Key::make_for(&options, algorithm, |a| a.attestation = attestation);
                let added = person.finish_passkey(&ceremony, "x", &credential).await;
                if attestation == Attestation::PackedForged {
                    assert_unproven(&added, &format!("{algorithm:?}"));
                    continue;
                }
                added.assert_status(201);
                let browser = app.browser();
                let Ceremony { ceremony, options } = browser.begin_sign_in().await;
                let forged = key.answer_with(&options, |a| a.forged = true);
                let refused = browser.finish_sign_in(&ceremony, &forged).await;
                assert_unproven(&refused, &format!("{algorithm:?}"));
                browser.sign_in_with(&mut key).await.assert_status(200);
            }
        }
    }

    /// WA-15
    async fn wa_15_a_bad_attestation_is_refused(app: TestApp) {
        let person = app.person("person").await;
        for (attestation, fine) in
            [(Attestation::PackedForged, false), (Attestation::Packed, true), (Attestation::None, true)]
        {
            let Ceremony { ceremony, options } = person.begin_passkey().await;
            let (mut key, credential) = Key::make_with(&options, |a| a.attestation = attestation);
            let added = person.finish_passkey(&ceremony, "x", &credential).await;
            assert_eq!(added.status == 201, fine, "{}", added.text());
            if fine {
                app.browser().sign_in_with(&mut key).await.assert_status(200);
            } else {
                assert_unproven(&added, "forged");
            }
        }
    }

    async fn what_is_no_answer_is_refused_in_words(app: TestApp) {
        let (person, mut key, _) = with_passkey(&app).await;
        for wrong in [json!({}), json!([]), json!("x"), json!({"id": "x"}), json!(null)] {
            let begun = app.browser().begin_sign_in().await;
            let refused = app.browser().finish_sign_in(&begun.ceremony, &wrong).await.assert_status(422);
            assert_eq!(refused.problem().errors[0].field, "credential");
            let begun = person.begin_passkey().await;
            person.finish_passkey(&begun.ceremony, "x", &wrong).await.assert_status(422);
        }
        // Every part of an answer is needed, and none of them may be nonsense.
        for part in ["clientDataJSON", "authenticatorData", "signature"] {
            for wrong in [json!(""), json!("AAAA"), json!("///"), json!(7)] {
                let begun = app.browser().begin_sign_in().await;
                let mut answer = key.answer(&begun.options);
                answer["response"][part] = wrong.clone();
                let status = app.browser().finish_sign_in(&begun.ceremony, &answer).await.status.as_u16();
                assert!(matches!(status, 403 | 422), "{part} {wrong}: {status}");
            }
        }
        // An id may have 1023 bytes (WebAuthn L3 §5.8.3).
        for (length, status) in [(1023, 201), (1024, 403), (5000, 403)] {
            let begun = person.begin_passkey().await;
            let (_, credential) = Key::make_with(&begun.options, |a| a.id = vec![length as u8; length]);
            person.finish_passkey(&begun.ceremony, "x", &credential).await.assert_status(status);
        }
    }
}
