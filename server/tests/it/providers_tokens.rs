//! ID tokens with exactly one thing wrong. Each test shows that the same token
//! without it is accepted.

use chrono::TimeDelta;
use serde_json::{Map, Value, json};

use crate::support::{
    TestApp,
    provider::{self, Provider, SUBJECT, Signer, State, jwk, public_der, public_pem, sign_in},
};

struct Scene {
    app: TestApp,
    provider: Provider,
}

async fn scene(app: &TestApp, more: &[(&str, &str)]) -> Scene {
    let provider = Provider::start(&app.clock).await;
    let app = provider::with_providers(app, &[("corp", "oidc", &provider, more)]).await;
    Scene { app, provider }
}

#[track_caller]
fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("{value}") };
    map
}

impl Scene {
    /// Refused with these words when this is changed, and accepted when it is not.
    async fn refused(&self, what: &str, words: &str, change: impl FnOnce(&mut State)) {
        change(&mut self.provider.state());
        let result = sign_in(&self.app, "corp", &self.provider).await;
        let said = result.map(|verified| panic!("{what}: accepted as {verified:?}")).unwrap_err().to_string();
        assert!(said.contains(words), "{what}: {said}");
        self.provider.reform();
        self.app.advance(TimeDelta::hours(1));
        self.accepted(what, |_| {}).await;
    }

    async fn accepted(
        &self,
        what: &str,
        change: impl FnOnce(&mut State),
    ) -> devenv_cloud::identity::arrival::External {
        change(&mut self.provider.state());
        let result = sign_in(&self.app, "corp", &self.provider).await;
        self.provider.reform();
        // What keys were published meanwhile is asked for anew.
        self.app.advance(TimeDelta::hours(1));
        result.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    async fn claims(&self, words: &str, claims: Value) {
        let what = claims.to_string();
        self.refused(&what, words, |state| state.claims = object(claims)).await;
    }

    async fn header(&self, words: &str, header: Value) {
        let what = header.to_string();
        self.refused(&what, words, |state| {
            state.header.extend(object(header));
        })
        .await;
    }

    fn now(&self) -> i64 {
        self.app.clock.now().timestamp()
    }
}

both_engines! {
    async fn rp_07_the_algorithm_is_our_choice(app: TestApp) {
        let scene = scene(&app, &[]).await;
        let only = "only RS256 PS256 ES256 EdDSA counts";
        scene.refused("no signature", only, |state| state.signer = Signer::None).await;
        for none in ["NONE", "None", "nOnE"] {
            scene.refused(none, only, |state| {
                state.signer = Signer::None;
                state.header.insert("alg".to_owned(), json!(none));
            }).await;
        }
        for (what, secret) in [
            ("the public key as PEM", public_pem()),
            ("the same without its last line break", public_pem().trim_ascii_end().to_vec()),
            ("the public key as DER", public_der()),
            ("the client's secret", provider::CLIENT_SECRET.as_bytes().to_vec()),
            ("nothing", Vec::new()),
        ] {
            scene.refused(what, only, |state| state.signer = Signer::Hmac(secret)).await;
        }
        // A MAC with the header of a signature, and the other way round.
        scene.refused("HS256 as RS256", "signature", |state| {
            state.signer = Signer::Hmac(public_pem());
            state.header.insert("alg".to_owned(), json!("RS256"));
        }).await;
        scene.header("signature", json!({ "alg": "PS256" })).await;
        scene.header("only RS256", json!({ "alg": "RS512" })).await;
        for signer in [Signer::Pss, Signer::Ec, Signer::Ed] {
            scene.accepted("one of ours", |state| {
                state.keys = vec![jwk(signer.clone(), Some("a"))];
                state.signer = signer;
            }).await;
        }
    }

    async fn rp_07_an_algorithm_that_is_not_configured_is_refused_though_its_key_is_published(app: TestApp) {
        let scene = scene(&app, &[("ALLOWED_ALGORITHMS", "RS256")]).await;
        for signer in [Signer::Ec, Signer::Ed, Signer::Pss] {
            scene.refused("published", "only RS256 counts", |state| {
                state.keys = vec![jwk(Signer::RsaA, Some("b")), jwk(signer.clone(), Some("a"))];
                state.signer = signer;
            }).await;
        }
    }

    async fn rp_07_a_changed_token_is_refused(app: TestApp) {
        let scene = scene(&app, &[]).await;
        scene.accepted("the right one", |_| {}).await;
        let token = {
            sign_in(&scene.app, "corp", &scene.provider).await.unwrap();
            scene.provider.state().last_token.clone().unwrap()
        };
        let parts: Vec<&str> = token.split('.').collect();
        for (what, changed) in [
            ("without a signature", format!("{}.{}.", parts[0], parts[1])),
            ("with another's signature", format!("{}.{}.{}", parts[0], parts[1], "AAAA")),
            ("with a part more", format!("{token}.x")),
            ("as two parts", format!("{}.{}", parts[0], parts[1])),
        ] {
            scene.refused(what, "its token", |state| {
                state.tokens = object(json!({ "id_token": changed }));
            }).await;
        }
    }

    async fn rp_08_an_unknown_key_is_asked_for_once_in_a_while(app: TestApp) {
        let scene = scene(&app, &[]).await;
        let Scene { app, provider } = &scene;
        sign_in(app, "corp", provider).await.unwrap();
        // Rotated: the new one is published, and signs.
        provider.state().keys = vec![jwk(Signer::RsaA, Some("a")), jwk(Signer::RsaB, Some("b"))];
        provider.state().signer = Signer::RsaB;
        provider.state().header = object(json!({ "kid": "b" }));
        sign_in(app, "corp", provider).await.unwrap();
        assert_eq!(provider.asked("GET /jwks"), 2);
        // Tokens with invented keys do not make us ask again and again.
        provider.state().header = object(json!({ "kid": "invented" }));
        for _ in 0..5 {
            let said = sign_in(app, "corp", provider).await.unwrap_err().to_string();
            assert!(said.contains("does not publish"), "{said}");
        }
        assert_eq!(provider.asked("GET /jwks"), 2);
        app.advance(TimeDelta::minutes(1));
        sign_in(app, "corp", provider).await.unwrap_err();
        assert_eq!(provider.asked("GET /jwks"), 3);
        // A key that is not published any more counts no more once its hour is over.
        provider.state().header = object(json!({ "kid": "a" }));
        provider.state().signer = Signer::RsaA;
        sign_in(app, "corp", provider).await.unwrap();
        provider.state().keys = vec![jwk(Signer::RsaB, Some("b"))];
        app.advance(TimeDelta::hours(1));
        sign_in(app, "corp", provider).await.unwrap_err();
    }

    async fn rp_08_without_a_name_there_must_be_one_key(app: TestApp) {
        let scene = scene(&app, &[]).await;
        let nameless = |state: &mut State| state.header = object(json!({ "kid": null }));
        scene.accepted("one key", |state| nameless(state)).await;
        scene.accepted("one key of the kind, itself without a name", |state| {
            nameless(state);
            state.keys = vec![jwk(Signer::RsaA, None), jwk(Signer::Ec, Some("b"))];
        }).await;
        scene.refused("two keys", "which of several keys", |state| {
            nameless(state);
            state.keys = vec![jwk(Signer::RsaA, Some("a")), jwk(Signer::RsaB, Some("b"))];
        }).await;
        scene.refused("two keys of one name", "which of several keys", |state| {
            state.keys = vec![jwk(Signer::RsaB, Some("a")), jwk(Signer::RsaA, Some("a"))];
        }).await;
        scene.refused("a key to encrypt with", "does not publish", |state| {
            state.keys[0]["use"] = json!("enc");
        }).await;
        scene.refused("a key for another algorithm", "does not publish", |state| {
            state.keys[0]["alg"] = json!("RS512");
        }).await;
        scene.refused("another key of that name", "signature", |state| {
            state.keys = vec![jwk(Signer::RsaB, Some("a"))];
        }).await;
        // Rotated just before signing, by a provider that names no keys.
        sign_in(&scene.app, "corp", &scene.provider).await.unwrap();
        scene.accepted("rotated", |state| {
            nameless(state);
            state.keys = vec![jwk(Signer::RsaB, None)];
            state.signer = Signer::RsaB;
        }).await;
    }

    async fn rp_09_keys_that_a_token_brings_along_are_not_looked_at(app: TestApp) {
        let scene = scene(&app, &[]).await;
        let evil = Provider::start(&scene.app.clock).await;
        let at = format!("{}/jwks", evil.issuer());
        for header in [
            json!({ "jku": at, "kid": "evil" }),
            json!({ "x5u": at }),
            json!({ "jwk": jwk(Signer::RsaB, Some("a")) }),
            json!({ "x5c": ["AAAA"] }),
        ] {
            scene.refused(&header.to_string(), "its token", |state| {
                state.signer = Signer::RsaB;
                state.header.extend(object(header.clone()));
            }).await;
        }
        assert_eq!(evil.state().requests.len(), 0);
        // What must be understood is not.
        scene.header("demands something", json!({ "crit": ["exp"] })).await;
        scene.header("demands something", json!({ "crit": [] })).await;
        scene.header("demands something", json!({ "cty": "JWT" })).await;
        scene.header("in a form", json!({ "b64": false })).await;
        scene.header("in a form", json!({ "zip": "DEF" })).await;
        scene.header("another kind", json!({ "typ": "logout+jwt" })).await;
        scene.header("another kind", json!({ "typ": "at+jwt" })).await;
        scene.accepted("no kind", |state| { state.header.insert("typ".to_owned(), Value::Null); }).await;
    }

    async fn rp_10_the_issuer_is_the_one_we_want_to_the_letter(app: TestApp) {
        let scene = scene(&app, &[]).await;
        let at = scene.provider.issuer();
        for iss in [format!("{at}/"), at.replace("http", "HTTP"), "https://evil.example".to_owned(), String::new()] {
            scene.claims("(iss)", json!({ "iss": iss })).await;
        }
        scene.claims("does not say", json!({ "iss": null })).await;
    }

    async fn rp_11_the_audience_is_us(app: TestApp) {
        let plain = scene(&app, &[]).await;
        plain.claims("does not say", json!({ "aud": null })).await;
        for other in [json!("other"), json!(["other"]), json!([]), json!("CI"), json!("")] {
            plain.claims("(aud)", json!({ "aud": other })).await;
        }
        plain.claims("other_audiences", json!({ "aud": ["ci", "other"], "azp": "ci" })).await;
        plain.claims("(azp)", json!({ "azp": "other" })).await;
        plain.claims("(azp)", json!({ "azp": "" })).await;
        plain.accepted("in a list", |state| state.claims = object(json!({ "aud": ["ci"] }))).await;
        plain.accepted("with the party", |state| state.claims = object(json!({ "azp": "ci" }))).await;
        // An administrator has named one.
        let scene = scene(&app, &[("OTHER_AUDIENCES", "project-1 project-2")]).await;
        let both = json!({ "aud": ["project-1", "ci"], "azp": "ci" });
        scene.accepted("named", |state| state.claims = object(both)).await;
        scene.claims("(azp)", json!({ "aud": ["ci", "project-1"] })).await;
        scene.claims("(azp)", json!({ "aud": ["ci", "project-1"], "azp": "project-1" })).await;
        scene.claims("other_audiences", json!({ "aud": ["ci", "project-3"], "azp": "ci" })).await;
        scene.claims("(aud)", json!({ "aud": ["project-1"], "azp": "ci" })).await;
    }

    async fn rp_12_the_token_is_of_now(app: TestApp) {
        let scene = scene(&app, &[]).await;
        for (claim, off, words) in [
            ("exp", -60, "(exp)"),
            ("exp", -3600, "(exp)"),
            ("iat", 61, "(iat)"),
            ("iat", 86_400, "(iat)"),
            ("iat", -661, "(iat)"),
            ("nbf", 61, "(nbf)"),
        ] {
            scene.claims(words, json!({ claim: scene.now() + off })).await;
        }
        for claim in ["exp", "iat"] {
            scene.claims("does not say", json!({ claim: null })).await;
            scene.claims("does not say", json!({ claim: "2026-01-01" })).await;
        }
        // Clocks may be off by a minute.
        for (claim, off) in [("exp", -59), ("iat", 60), ("iat", -660), ("nbf", 60)] {
            let claims = object(json!({ claim: scene.now() + off }));
            scene.accepted(claim, |state| state.claims = claims).await;
        }
        let half = object(json!({ "iat": 0.5 + f64::from(i32::try_from(scene.now()).unwrap()) }));
        scene.accepted("half seconds", |state| state.claims = half).await;
    }

    async fn rp_13_the_token_answers_this_question_and_no_other(app: TestApp) {
        let scene = scene(&app, &[]).await;
        scene.claims("(nonce)", json!({ "nonce": null })).await;
        scene.claims("(nonce)", json!({ "nonce": "" })).await;
        scene.claims("(nonce)", json!({ "nonce": "another" })).await;
        // The token of an earlier sign-in, as it was.
        sign_in(&scene.app, "corp", &scene.provider).await.unwrap();
        let before = scene.provider.state().last_token.clone().unwrap();
        scene.refused("replayed", "(nonce)", |state| state.tokens = object(json!({ "id_token": before }))).await;
    }

    async fn rp_14_token_and_code_belong_together(app: TestApp) {
        let scene = scene(&app, &[]).await;
        scene.claims("(at_hash)", json!({ "at_hash": provider::half_hash(&Signer::RsaA, "another token") })).await;
        scene.claims("(at_hash)", json!({ "at_hash": "" })).await;
        scene.claims("(c_hash)", json!({ "c_hash": provider::half_hash(&Signer::RsaA, "another code") })).await;
        scene.refused("another access token", "(at_hash)", |state| {
            state.tokens = object(json!({ "access_token": "another token" }));
        }).await;
        // Neither must be there where a code is exchanged (OpenID Connect Core §3.1.3.6).
        let none = json!({ "at_hash": null, "c_hash": null });
        scene.accepted("none", |state| state.claims = object(none)).await;
    }

    async fn rp_15_both_answers_are_about_one_person(app: TestApp) {
        let scene = scene(&app, &[]).await;
        let asked = || object(json!({ "email": null, "email_verified": null, "name": null }));
        scene.refused("somebody else's", "two people", |state| {
            state.claims = asked();
            state.userinfo = object(json!({ "sub": "subject-2", "email": "a@b.example", "email_verified": true }));
        }).await;
        scene.refused("nobody's", "cannot be asked", |state| {
            state.claims = asked();
            state.userinfo = object(json!({ "sub": null, "email": "a@b.example", "email_verified": true }));
        }).await;
        let verified = scene.accepted("the same person's", |state| {
            state.claims = asked();
            state.userinfo = object(json!({ "email": "a@b.example", "email_verified": true, "name": "A" }));
        }).await;
        assert_eq!(verified.subject, SUBJECT);
        assert_eq!((verified.email.as_deref(), verified.name.as_deref()), (Some("a@b.example"), Some("A")));
        // The one answer's address is not verified by the other's word.
        let verified = scene.accepted("half and half", |state| {
            state.claims = object(json!({ "email": null, "email_verified": true }));
            state.userinfo = object(json!({ "email": "victim@corp.example" }));
        }).await;
        assert_eq!(verified.email, None);
    }

    async fn rp_16_the_token_names_somebody(app: TestApp) {
        let scene = scene(&app, &[]).await;
        scene.claims("does not say", json!({ "sub": null })).await;
        scene.claims("(sub)", json!({ "sub": "" })).await;
        scene.claims("(sub)", json!({ "sub": "x".repeat(256) })).await;
        scene.claims("(sub)", json!({ "sub": "a\nb" })).await;
        scene.claims("does not say", json!({ "sub": 1 })).await;
        let long = "x".repeat(255);
        let claims = object(json!({ "sub": long }));
        assert_eq!(scene.accepted("long", |state| state.claims = claims).await.subject, long);
    }

    async fn rp_22_an_address_counts_only_if_it_is_verified_in_so_many_words(app: TestApp) {
        let scene = scene(&app, &[]).await;
        for unverified in [json!(false), json!(null), json!("true"), json!("false"), json!(1), json!({}), json!([true])] {
            let claims = object(json!({ "email_verified": unverified }));
            let verified = scene.accepted("unverified", |state| state.claims = claims).await;
            assert_eq!(verified.email, None, "{unverified}");
            assert_eq!(verified.subject, SUBJECT, "who it is does not depend on it");
        }
        // And who must have one of some domain does not come in without.
        let scene = self::scene(&app, &[("ALLOWED_DOMAINS", "corp.example other.example")]).await;
        for (email, is_verified) in [
            (json!("ada@corp.example"), json!(false)),
            (json!("ada@corp.example"), json!("true")),
            (json!("ada@evil.example"), json!(true)),
            (json!("ada@corp.example.evil.example"), json!(true)),
            (json!("ada@corp.example@evil.example"), json!(true)),
            (json!("ada@sub.corp.example"), json!(true)),
            // Cyrillic letters that look like ours.
            (json!("ada@c\u{43e}rp.example"), json!(true)),
            (json!("corp.example"), json!(true)),
            (json!(null), json!(null)),
        ] {
            scene.claims("verified e-mail address of corp.example", json!({ "email": email, "email_verified": is_verified })).await;
        }
        let claims = object(json!({ "email": "Ada@CORP.example" }));
        scene.accepted("in another case", |state| state.claims = claims).await;
    }
}
