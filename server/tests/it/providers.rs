//! To a provider and back: what binds the two ends. Each test bears the number
//! of its attack in `docs/security.md`.

use std::sync::Arc;

use chrono::TimeDelta;
use devenv_cloud::{
    db::query,
    sso::{self, Answer, Rejection},
};
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::support::{
    TestApp,
    provider::{
        self, Brought, Configured, Instead, Provider, SUBJECT, begin, come_back, origin, parameters, sign_in,
    },
};

async fn one(app: &TestApp) -> (TestApp, Provider) {
    let provider = Provider::start(&app.clock).await;
    let app = provider::with_providers(app, &[("corp", "oidc", &provider, &[])]).await;
    (app, provider)
}

#[track_caller]
fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("{value}") };
    map
}

async fn audited(app: &TestApp) -> Vec<(String, String)> {
    let rows =
        query("SELECT outcome, target FROM audit WHERE action = 'sign-in' ORDER BY id").all(&app.db).await;
    let rows = rows.expect("the audit log");
    rows.iter().map(|row| (row.get("outcome").expect("word"), row.get("target").expect("text"))).collect()
}

both_engines! {
    async fn somebody_goes_to_a_provider_and_comes_back_as_who_they_are_there(app: TestApp) {
        let (app, provider) = one(&app).await;
        let binding = sso::new_binding(&app);
        let address = begin(&app, "corp", &binding).await.unwrap();
        let asked = parameters(&address);
        assert_eq!(asked["scope"], "openid profile email");
        assert_eq!(asked["redirect_uri"], "https://ci.example.com/sign-in/provider/corp/callback");
        let returned = come_back(&app, "corp", &binding, &provider.authorize(&address)).await.unwrap();
        assert_eq!(returned.return_to.as_deref(), Some("/acme"));
        let verified = returned.external;
        assert_eq!((verified.provider.as_str(), verified.subject.as_str()), ("corp", SUBJECT));
        assert_eq!(verified.email.as_deref(), Some("ada@corp.example"));
        assert_eq!((verified.label.as_str(), verified.name.as_deref()), ("ada", Some("Ada Lovelace")));
        assert_eq!(verified.session.as_deref(), Some("session-1"));
        assert!(!verified.creates, "nobody gets an account unless an administrator says so");
        // What is known of the provider is not asked for each time.
        sign_in(&app, "corp", &provider).await.unwrap();
        assert_eq!(provider.asked("GET /.well-known/openid-configuration"), 1);
        assert_eq!(provider.asked("GET /jwks"), 1);
        assert_eq!(provider.asked("GET /userinfo"), 0, "the token said all");
    }

    async fn rp_01_a_state_that_is_none_or_another_browsers_asks_for_no_token(app: TestApp) {
        let (app, provider) = one(&app).await;
        let binding = sso::new_binding(&app);
        let brought = provider.authorize(&begin(&app, "corp", &binding).await.unwrap());
        let with = |state: Option<&str>| Answer {
            state: state.map(str::to_owned),
            code: Some(brought.code.clone()),
            iss: brought.iss.clone(),
            ..Answer::default()
        };
        let other = sso::new_binding(&app);
        for (state, binding) in [
            (None, Some(binding.as_str())),
            (Some(""), Some(binding.as_str())),
            (Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), Some(binding.as_str())),
            (Some(brought.state.as_str()), Some(other.as_str())),
            (Some(brought.state.as_str()), Some("")),
            (Some(brought.state.as_str()), None),
        ] {
            let result = sso::come_back(&app, "corp", with(state), binding, &origin()).await;
            assert!(matches!(result, Err(Rejection::NotUnderWay)), "{state:?} {binding:?}: {result:?}");
        }
        assert_eq!(provider.asked("POST /token"), 0);
        // None of that ended the sign-in whose state it was.
        come_back(&app, "corp", &binding, &brought).await.unwrap();
        let outcomes: Vec<_> = audited(&app).await.into_iter().map(|(outcome, _)| outcome).collect();
        assert_eq!(outcomes, ["refused"; 6]);
    }

    async fn rp_02_a_state_works_once_and_not_for_ever(app: TestApp) {
        let (app, provider) = one(&app).await;
        let binding = sso::new_binding(&app);
        let brought = provider.authorize(&begin(&app, "corp", &binding).await.unwrap());
        come_back(&app, "corp", &binding, &brought).await.unwrap();
        let again = come_back(&app, "corp", &binding, &brought).await;
        assert!(matches!(again, Err(Rejection::NotUnderWay)), "{again:?}");
        // Of two at the same moment, one.
        let brought = provider.authorize(&begin(&app, "corp", &binding).await.unwrap());
        let (a, b) = tokio::join!(
            come_back(&app, "corp", &binding, &brought),
            come_back(&app, "corp", &binding, &brought)
        );
        assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "{a:?} {b:?}");
        // It was begun too long ago.
        let brought = provider.authorize(&begin(&app, "corp", &binding).await.unwrap());
        app.advance(TimeDelta::minutes(10));
        let late = come_back(&app, "corp", &binding, &brought).await;
        assert!(matches!(late, Err(Rejection::NotUnderWay)), "{late:?}");
    }

    async fn rp_03_and_rp_05_what_is_one_providers_is_shown_to_no_other(app: TestApp) {
        let (honest, evil) = (Provider::start(&app.clock).await, Provider::start(&app.clock).await);
        let providers: [Configured<'_>; 2] =
            [("honest", "oidc", &honest, &[]), ("evil", "oidc", &evil, &[])];
        let app = provider::with_providers(&app, &providers).await;
        let binding = sso::new_binding(&app);
        // A state of one on the other's path.
        let brought = honest.authorize(&begin(&app, "honest", &binding).await.unwrap());
        let result = come_back(&app, "evil", &binding, &brought).await;
        assert!(matches!(result, Err(Rejection::NotUnderWay)), "{result:?}");
        // The mix-up (RFC 9700 §4.4): the evil one passes the browser on to the honest
        // one, with the state of a sign-in at the evil one. The honest one sends it back
        // to the path that is registered for it, with a code of its own.
        let state = parameters(&begin(&app, "evil", &binding).await.unwrap())["state"].clone();
        let code = honest.authorize(&begin(&app, "honest", &binding).await.unwrap()).code;
        let mixed = Brought { state, code, iss: Some(honest.issuer()) };
        let result = come_back(&app, "honest", &binding, &mixed).await;
        assert!(matches!(result, Err(Rejection::NotUnderWay)), "{result:?}");
        // Should the honest one accept the evil one's path: then it says who it is.
        let result = come_back(&app, "evil", &binding, &mixed).await;
        assert!(result.unwrap_err().to_string().contains("(iss)"));
        assert_eq!(evil.asked("POST /token"), 0, "no code of the honest one got to the evil one");
        assert_eq!(honest.asked("POST /token"), 0);
        // And each alone is fine.
        sign_in(&app, "honest", &honest).await.unwrap();
        sign_in(&app, "evil", &evil).await.unwrap();
    }

    async fn rp_04_who_says_that_it_always_says_who_it_is_must(app: TestApp) {
        let (app, provider) = one(&app).await;
        let at = provider.issuer();
        let mut number = 0;
        for (announced, iss, fine) in [
            (true, Some(at.clone()), true),
            (true, None, false),
            (true, Some(format!("{at}/")), false),
            (true, Some("https://evil.example".to_owned()), false),
            (true, Some(String::new()), false),
            (false, None, true),
            (false, Some(at.clone()), true),
            (false, Some("https://evil.example".to_owned()), false),
        ] {
            provider.state().metadata = object(json!({ "authorization_response_iss_parameter_supported": announced }));
            // What it said of itself before is forgotten.
            app.advance(TimeDelta::hours(1));
            let asked = provider.asked("POST /token");
            let binding = sso::new_binding(&app);
            let brought = provider.authorize(&begin(&app, "corp", &binding).await.unwrap());
            let Brought { state, code, .. } = brought;
            let answer = Answer { state: Some(state), code: Some(code), iss: iss.clone(), ..Answer::default() };
            let result = sso::come_back(&app, "corp", answer, Some(&binding), &origin()).await;
            assert_eq!(result.is_ok(), fine, "{announced} {iss:?}: {result:?}");
            if !fine {
                assert!(result.unwrap_err().to_string().contains("(iss)"));
                assert_eq!(provider.asked("POST /token"), asked, "the code was shown to nobody");
            }
            number += 1;
        }
        assert_eq!(number, 8);
    }

    async fn rp_06_the_proof_of_who_began_is_checked_by_the_provider_and_told(app: TestApp) {
        let (app, provider) = one(&app).await;
        let binding = sso::new_binding(&app);
        let address = begin(&app, "corp", &binding).await.unwrap();
        // Somebody changes the challenge on the way.
        let other = address.replace("code_challenge=", "code_challenge=x");
        assert_ne!(other, address);
        let result = come_back(&app, "corp", &binding, &provider.authorize(&other)).await;
        let said = result.unwrap_err().to_string();
        assert!(said.contains("does not exchange the code") && said.contains("invalid_grant"), "{said}");
    }

    async fn rp_10_a_discovery_document_of_somebody_else_is_not_used(app: TestApp) {
        let (app, provider) = one(&app).await;
        let at = provider.issuer();
        for issuer in [format!("{at}/"), at.to_uppercase(), "https://evil.example".to_owned(), String::new()] {
            provider.state().metadata = object(json!({ "issuer": issuer }));
            let result = begin(&app, "corp", "x").await;
            let Err(Rejection::NoAnswer { why, .. }) = result else { panic!("{issuer}: {result:?}") };
            assert!(why.contains("the same to the letter"), "{why}");
        }
        provider.reform();
        sign_in(&app, "corp", &provider).await.unwrap();
    }

    async fn rp_17_a_provider_that_says_no_is_heard_and_written_down(app: TestApp) {
        let (app, provider) = one(&app).await;
        let binding = sso::new_binding(&app);
        let address = begin(&app, "corp", &binding).await.unwrap();
        let answer = Answer {
            state: Some(parameters(&address)["state"].clone()),
            iss: Some(provider.issuer()),
            error: Some("access_denied".to_owned()),
            error_description: Some("<script>alert(1)</script>\r\nno".to_owned()),
            ..Answer::default()
        };
        let result = sso::come_back(&app, "corp", answer.clone(), Some(&binding), &origin()).await;
        let said = result.unwrap_err().to_string();
        assert_eq!(said, "corp did not sign you in: access_denied (<script>alert(1)</script>no)");
        assert_eq!(audited(&app).await, [("refused".to_owned(), format!("corp: {said}"))]);
        // An error takes the state, too, and needs one.
        let again = sso::come_back(&app, "corp", answer, Some(&binding), &origin()).await;
        assert!(matches!(again, Err(Rejection::NotUnderWay)), "{again:?}");
        assert_eq!(provider.asked("POST /token"), 0);
    }

    async fn rp_20_a_provider_in_our_own_network_is_not_asked(app: TestApp) {
        let provider = Provider::start(&app.clock).await;
        let settings = [
            ("DEVENV_CLOUD_PROVIDER_CORP_ISSUER", &*provider.issuer()),
            ("DEVENV_CLOUD_PROVIDER_CORP_CLIENT_ID", "ci"),
        ];
        let nowhere = app.second_process(&settings).await;
        let result = begin(&nowhere, "corp", "x").await;
        let Err(Rejection::NoAnswer { why, .. }) = &result else { panic!("{result:?}") };
        assert!(why.contains("plain http"), "{why}");
        assert_eq!(provider.state().requests.len(), 0);
        // People are not told why: the addresses inside are nobody's business.
        assert!(!result.unwrap_err().to_string().contains("127.0.0.1"));

        // And neither is what one that may be asked points to.
        let (app, provider) = one(&app).await;
        let victim = Provider::start(&app.clock).await;
        for (endpoint, asked) in [("token_endpoint", "POST /token"), ("jwks_uri", "GET /jwks"), ("userinfo_endpoint", "GET /userinfo")] {
            provider.reform();
            provider.state().metadata = object(json!({ endpoint: format!("{}{}", victim.issuer(), &asked[asked.find('/').unwrap()..]) }));
            provider.state().claims = object(json!({ "email": null }));
            app.advance(TimeDelta::hours(1));
            let result = sign_in(&app, "corp", &provider).await;
            assert!(matches!(result, Err(Rejection::NoAnswer { .. })), "{endpoint}: {result:?}");
            assert_eq!(victim.state().requests.len(), 0, "{endpoint}");
        }
    }

    async fn rp_28_token_endpoints_that_misbehave_are_told_and_not_followed(app: TestApp) {
        let (app, provider) = one(&app).await;
        let victim = Provider::start(&app.clock).await;
        for kind in ["Bearer", "bearer", "BEARER"] {
            provider.state().tokens = object(json!({ "token_type": kind }));
            sign_in(&app, "corp", &provider).await.unwrap();
        }
        for (change, words) in [
            (json!({ "token_type": "mac" }), "of a type"),
            (json!({ "access_token": null }), "is no token"),
            (json!({ "id_token": null }), "no ID token"),
            (json!({ "id_token": "x" }), "none that is signed"),
        ] {
            provider.state().tokens = object(change);
            let said = sign_in(&app, "corp", &provider).await.unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
        provider.reform();
        let huge = Instead { body: vec![b' '; 50 << 20], ..Instead::json(&json!({})) };
        let html = Instead { content_type: "text/html", body: b"<html>".to_vec(), ..Instead::json(&json!({})) };
        let redirect = Instead {
            status: StatusCode::TEMPORARY_REDIRECT,
            location: Some(format!("{}/token", victim.issuer())),
            ..Instead::json(&json!({}))
        };
        for (answer, words) in [(huge, "cannot be asked"), (html, "is no token"), (redirect, "cannot be asked")] {
            provider.state().token_answer = Some(answer);
            let said = sign_in(&app, "corp", &provider).await.unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(victim.state().requests.len(), 0);
        // A token that would break out of a header is refused before it is used.
        provider.reform();
        provider.state().tokens = object(json!({ "access_token": "a\r\nX: y" }));
        provider.state().claims = object(json!({ "email": null, "at_hash": null }));
        assert!(sign_in(&app, "corp", &provider).await.is_err());
        provider.reform();
        sign_in(&app, "corp", &provider).await.unwrap();
    }

    async fn what_is_under_way_is_sealed_in_the_database(app: TestApp) {
        let (app, _provider) = one(&app).await;
        let app = Arc::new(app);
        let address = begin(&app, "corp", "the browser's secret").await.unwrap();
        let asked = parameters(&address);
        let rows = query("SELECT key_hash, state FROM once").all(&app.db).await.unwrap();
        assert_eq!(rows.len(), 1);
        let (key, state): (Vec<u8>, Vec<u8>) = (rows[0].get("key_hash").unwrap(), rows[0].get("state").unwrap());
        let all = [key, state].concat();
        for secret in [asked["state"].as_str(), asked["nonce"].as_str(), "the browser's secret"] {
            assert!(!all.windows(secret.len()).any(|part| part == secret.as_bytes()));
        }
    }
}
