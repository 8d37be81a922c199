use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::read;
use crate::{
    orgs::Project,
    problem::Problem,
    runs::Run,
    trace::{LiveEvent, RunEvent, Trace},
};

#[derive(Debug, PartialEq, Deserialize)]
enum Shape {
    Point,
    Line(i32, i32),
    Circle { radius: f64 },
    Named(String),
}

#[derive(Debug, PartialEq, Deserialize)]
struct Drawing {
    shapes: Vec<Shape>,
    #[serde(default)]
    scale: Option<f32>,
    names: BTreeMap<String, (u8, char)>,
    nothing: (),
}

#[test]
fn what_serde_json_reads_is_read_alike() {
    fn alike<T: DeserializeOwned + PartialEq + std::fmt::Debug>(text: &str) {
        match (serde_json::from_str::<T>(text), read::<T>(text)) {
            (Ok(theirs), Ok(ours)) => assert_eq!(theirs, ours, "{text}"),
            (Err(_), Err(_)) => {}
            (theirs, ours) => panic!("{text}: {theirs:?} but {ours:?}"),
        }
    }
    for text in [
        r#" {"shapes": ["Point", {"Line": [1, -2]}, {"Circle": {"radius": 1.5e3}}, {"Named": "x"}], "names": {"a": [1, "é"]}, "more": [{"x": [null, -1.5, true, "\""]}], "nothing": null} "#,
        r#"{"shapes":[],"names":{},"nothing":null,"scale":0.5}"#,
        r#"{"shapes":[],"names":{},"nothing":null,"scale":null}"#,
        r#"{"shapes":[{"Line":[1]}],"names":{},"nothing":null}"#,
        r#"{"shapes":[{"Line":[1,2,3]}],"names":{},"nothing":null}"#,
        r#"{"shapes":["Line"],"names":{},"nothing":null}"#,
        r#"{"shapes":["Oval"],"names":{},"nothing":null}"#,
        r#"{"shapes":[{}],"names":{},"nothing":null}"#,
        r#"{"shapes":[{"Named":"a","Point":1}],"names":{},"nothing":null}"#,
        r#"{"shapes":[],"names":{"a":[256,"b"]},"nothing":null}"#,
        r#"{"shapes":[],"names":{"a":[1,"bc"]},"nothing":null}"#,
        r#"{"shapes":[],"names":{},"nothing":0}"#,
        r#"{"shapes":[],"names":{}}"#,
        "",
        "[",
    ] {
        alike::<Drawing>(text);
    }
    for text in [
        "0",
        "-7",
        "18446744073709551615",
        "-9223372036854775808",
        "1.5",
        "-1e-3",
        "true",
        "false",
        "null",
        r#""""#,
        r#""a\"b\\c\/d\b\f\n\r\t""#,
        r#""\u00e9\ud83d\ude00""#,
        r#""é😀""#,
        r#""\ud83d""#,
        r#""\ud83dx""#,
        r#""\u12""#,
        r#""\u+123""#,
        r#""\x""#,
        "\"a\nb\"",
        r#""abc"#,
        r#""\"#,
        "[]",
        "[1,[2,{}]]",
        "[1,]",
        "[1 2]",
        "[,1]",
        "{}",
        r#"{"a":1,"b":{"c":[]}}"#,
        r#"{"a" 1}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        "{1:2}",
        "nul",
        "tru",
        "-",
        "+1",
        "01",
        "-01",
        ".5",
        "-.5",
        "--1",
        "1 1",
        "  [ 1 , 2 ]\n",
        "\u{a0}1",
        "]",
        "}",
        "🦀",
    ] {
        alike::<Value>(text);
    }
    let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
    alike::<Value>(&deep(120));
    assert!(read::<Value>(&deep(200)).is_err());
    assert!(read::<serde::de::IgnoredAny>(&deep(100_000)).is_err());
}

#[test]
fn the_types_of_the_api_are_read() {
    let run = r#"{"org":"acme","project":"web","id":"0190a000-0000-7000-8000-000000000000","number":3,"state":"running",
        "trigger":"push","triggered_by":"ada","commit":{"sha":"ab","git_ref":"refs/heads/main","title":"t","author":"a",
        "author_email":"e"},"created_at":"2026-01-02T03:04:05.678Z","jobs":[],"can_operate":true,"new_in_later_servers":{}}"#;
    let read_run: Run = read(run).unwrap();
    assert_eq!(read_run, serde_json::from_str(run).unwrap());
    assert_eq!(read_run, serde_json::from_value(serde_json::to_value(&read_run).unwrap()).unwrap());

    let event = format!(r#"{{"event":"run","run":{run}}}"#);
    assert_eq!(read::<RunEvent>(&event).unwrap(), RunEvent::Run { run: Box::new(read_run) });
    assert_eq!(read::<RunEvent>(r#"{"event":"end"}"#).unwrap(), RunEvent::End);
    assert_eq!(read::<LiveEvent>(r#"{"event":"end"}"#).unwrap(), LiveEvent::End);
    let lines = r#"{"lines":[{"number":1,"span":"000000000000002a","stream":"stdout","time":"2026-01-02T03:04:05Z","text":"\u001b[1mx"}],"event":"lines"}"#;
    assert_eq!(read::<LiveEvent>(lines).unwrap(), serde_json::from_str(lines).unwrap());
    let spans = r#"{"spans":[{"id":"000000000000002a","kind":"task","name":"n","state":"success","started_at":"2026-01-02T03:04:05Z",
        "depth":1,"lines":2,"attributes":{"a":"b"}}],"total":1,"seq":9}"#;
    assert_eq!(read::<Trace>(spans).unwrap(), serde_json::from_str(spans).unwrap());
    assert!(read::<LiveEvent>(r#"{"event":"later"}"#).is_err());
    assert!(read::<LiveEvent>(r#"{"event":"attempt"}"#).is_err());
}

#[test]
fn errors_say_what_was_expected() {
    assert_eq!(read::<bool>(" 1").unwrap_err().to_string(), "expected true or false at byte 1");
    assert_eq!(read::<u8>("300").unwrap_err().to_string(), "expected u8");
    assert!(read::<Project>("{}").unwrap_err().to_string().starts_with("missing field `"));
    assert!(read::<Problem>("[]").unwrap_err().to_string().contains("an object"));
}
