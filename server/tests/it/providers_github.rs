//! GitHub, which says who somebody is in its own way.

use devenv_cloud::sso::{self, Answer, Rejection};
use serde_json::json;

use crate::support::{
    TestApp,
    provider::{self, Instead, Provider, begin, origin, parameters, sign_in},
};

async fn github(app: &TestApp) -> (TestApp, Provider) {
    let provider = Provider::start(&app.clock).await;
    let app = provider::with_providers(app, &[("github", "github", &provider, &[])]).await;
    (app, provider)
}

both_engines! {
    async fn rp_25_githubs_number_is_who_somebody_is_and_not_the_name(app: TestApp) {
        let (app, provider) = github(&app).await;
        let octocat = sign_in(&app, "github", &provider).await.unwrap();
        assert_eq!((octocat.subject.as_str(), octocat.label.as_str()), ("583231", "octocat"));
        assert_eq!(octocat.name.as_deref(), Some("Octo Cat"));
        // Renamed: the same person.
        provider.state().account["login"] = json!("octodog");
        let renamed = sign_in(&app, "github", &provider).await.unwrap();
        assert_eq!((renamed.subject.as_str(), renamed.label.as_str()), ("583231", "octodog"));
        // Somebody else registers the name that became free: another person.
        provider.state().account = json!({ "id": 999_999, "login": "octocat", "name": null });
        let impostor = sign_in(&app, "github", &provider).await.unwrap();
        assert_ne!(impostor.subject, octocat.subject);
        // A number that is none is nobody.
        for id in [json!("583231"), json!(null), json!(-1), json!(1.5)] {
            provider.state().account["id"] = id;
            let result = sign_in(&app, "github", &provider).await;
            assert!(matches!(result, Err(Rejection::NoAnswer { .. })), "{result:?}");
        }
    }

    async fn rp_25_of_githubs_addresses_the_primary_counts_if_it_is_verified(app: TestApp) {
        let (app, provider) = github(&app).await;
        let email = |email: &str, primary: bool, verified: bool| {
            json!({ "email": email, "primary": primary, "verified": verified })
        };
        for (emails, expected) in [
            (json!([email("a@x.example", true, true)]), Some("a@x.example")),
            (json!([email("b@x.example", false, true), email("a@x.example", true, true)]), Some("a@x.example")),
            (json!([email("a@x.example", true, false)]), None),
            (json!([email("b@x.example", false, true), email("a@x.example", true, false)]), None),
            (json!([email("b@x.example", false, true)]), None),
            (json!([]), None),
        ] {
            provider.state().emails = emails.clone();
            let verified = sign_in(&app, "github", &provider).await.unwrap();
            // The one in the profile is what somebody likes to show, and was never it.
            assert_eq!(verified.email.as_deref(), expected, "{emails}");
        }
    }

    async fn a_github_of_ones_own_is_asked_at_its_own_address(app: TestApp) {
        let (app, provider) = github(&app).await;
        let address = begin(&app, "github", "x").await.unwrap();
        assert!(address.starts_with(&format!("{}/login/oauth/authorize?", provider.issuer())), "{address}");
        let asked = parameters(&address);
        assert_eq!(asked["scope"], "read:user user:email");
        assert!(!asked.contains_key("nonce"), "{asked:?}");
        sign_in(&app, "github", &provider).await.unwrap();
        let requests = provider.state().requests.clone();
        assert_eq!(requests, ["POST /login/oauth/access_token", "GET /api/v3/user", "GET /api/v3/user/emails"]);
    }

    async fn githubs_way_of_saying_no_is_understood(app: TestApp) {
        let (app, provider) = github(&app).await;
        // An error with the status of a success.
        let error = json!({ "error": "bad_verification_code", "error_description": "The code is incorrect." });
        provider.state().token_answer = Some(Instead::json(&error));
        let said = sign_in(&app, "github", &provider).await.unwrap_err().to_string();
        assert!(said.contains("is no token"), "{said}");
        assert_eq!(provider.asked("GET /api/v3/user"), 0);
    }

    async fn rp_04_a_github_that_says_who_it_is_says_the_right_thing(app: TestApp) {
        let (app, provider) = github(&app).await;
        for (iss, fine) in [
            (None, true),
            (Some(format!("{}/login/oauth", provider.issuer())), true),
            (Some("https://evil.example/login/oauth".to_owned()), false),
        ] {
            let binding = sso::new_binding(&app);
            let brought = provider.authorize(&begin(&app, "github", &binding).await.unwrap());
            let answer = Answer { state: Some(brought.state), code: Some(brought.code), iss, ..Answer::default() };
            let result = sso::come_back(&app, "github", answer, Some(&binding), &origin()).await;
            assert_eq!(result.is_ok(), fine, "{result:?}");
        }
    }
}
