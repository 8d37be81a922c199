//! The OpenAPI document.

use crate::support::TestApp;

both_engines! {
    async fn the_document_is_served(app: TestApp) {
        let document: serde_json::Value =
            app.get("/api/v1/openapi.json").send().await.assert_status(200).json();
        assert_eq!(document, serde_json::to_value(devenv_cloud::web::openapi()).unwrap());
    }
}

#[test]
fn the_document_in_docs_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    let current = devenv_cloud::web::openapi().to_pretty_json().unwrap() + "\n";
    // Not assert_eq: nobody wants to read two documents of this length.
    assert!(
        checked_in == current,
        "docs/openapi.json is stale; renew it with `cargo run -p devenv-cloud -- openapi > docs/openapi.json` and \
         look at the difference before committing it"
    );
}

#[test]
fn words_stand_in_the_document_as_they_do_on_the_wire() {
    let document = serde_json::to_value(devenv_cloud::web::openapi()).unwrap();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["Role"]["enum"], serde_json::json!(["viewer", "member", "admin", "owner"]));
    assert_eq!(schemas["AuthMethod"]["enum"][0], "pwd");
    let description = schemas["Role"]["description"].as_str().unwrap();
    assert!(description.contains("- `viewer`: Reads everything"), "{description}");
}

/// What a generated client and a reader need of every operation.
#[test]
fn every_operation_has_an_id_a_summary_a_tag_and_says_how_it_fails() {
    let document = serde_json::to_value(devenv_cloud::web::openapi()).unwrap();
    let tags: Vec<&str> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{what}: two operations are called {id}");
            assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{what} has no summary");
            let tag = operation["tags"][0].as_str().unwrap_or_default();
            assert!(tags.contains(&tag), "{what} has the tag `{tag}`, which the document does not explain");
            for (status, response) in operation["responses"].as_object().unwrap() {
                if status.as_str() >= "400" {
                    let problem = &response["content"]["application/problem+json"]["schema"]["$ref"];
                    assert_eq!(problem, "#/components/schemas/Problem", "{what} {status}");
                }
            }
            for parameter in path.split(['{', '}']).skip(1).step_by(2) {
                let described = operation["parameters"].as_array().is_some_and(|parameters| {
                    parameters.iter().any(|p| p["name"] == parameter && p["in"] == "path")
                });
                assert!(described, "{what} does not describe {{{parameter}}}");
            }
        }
    }
}
