//! Searching the whole log of an attempt over the API.

use devenv_cloud::{executor::Lease, telemetry};
use devenv_cloud_api::{
    ids::SpanId,
    runs::{Stage, State},
    trace::{LogMatch, LogMatches, SpanKind},
};

use crate::support::{
    Browser, TestApp,
    work::{Project, Script, claim, finish, noise},
};

const SEARCH: &str = "/api/v1/orgs/acme/projects/web/runs/1/jobs/x86_64-linux/log/search";

/// A log of many chunks, some of them objects: 3000 lines, every tenth with a
/// word in colours, half of them of another span.
async fn long_log(app: &TestApp) -> (Browser, Lease) {
    let admin = app.set_up().await;
    Project::create(app, &Default::default()).await.run(app, "main", 'a').await;
    let lease = claim(app).await.expect("work").lease;
    Script::new(app)
        .job()
        .open(1, None, SpanKind::Task, Some(Stage::Task))
        .open(2, None, SpanKind::Task, Some(Stage::Task))
        .send(&lease, 1)
        .await;
    let mut number = 0;
    for part in 0..15 {
        let mut script = Script::new(app);
        let noise = if part % 5 == 0 { noise(app, 600) } else { String::new() };
        for _ in 0..200 {
            number += 1;
            let span = 1 + number % 2;
            let word = if number % 10 == 0 { "\u{1b}[1;33mwarn\u{1b}[0mING" } else { "fine" };
            script = script.line(span, format!("line {number} {word} {noise}"));
        }
        script.send(&lease, 4 + part * 200).await;
    }
    (admin, lease)
}

async fn search(browser: &Browser, query: &str) -> LogMatches {
    browser.get(&format!("{SEARCH}?{query}")).await.assert_status(200).json()
}

fn numbers(found: &LogMatches) -> Vec<u64> {
    found.matches.iter().map(|found| found.number).collect()
}

both_engines! {
    async fn every_line_of_a_long_log_is_searched(app: TestApp) {
        let (admin, lease) = long_log(&app).await;
        for compacted in [false, true] {
            let found = search(&admin, "q=Warning").await;
            assert_eq!((found.count, found.first, found.searched), (300, 1, 3000), "{compacted}");
            assert_eq!(numbers(&found), (1..=200).map(|n| n * 10).collect::<Vec<_>>());
            assert_eq!(search(&admin, "q=Warning&case=true").await.count, 0);
            assert_eq!(search(&admin, "q=warnING&case=true").await.count, 300);
            assert_eq!(search(&admin, "q=%1B").await.count, 0, "escape sequences are no text");
            assert_eq!(numbers(&search(&admin, "q=line+2999+").await), [2999]);
            // Lines with even numbers are span 1's.
            let own = search(&admin, &format!("q=warning&span={}&limit=2", SpanId(1))).await;
            assert_eq!((own.count, own.matches.as_slice()),
                (300, &[LogMatch { number: 10, place: 5 }, LogMatch { number: 20, place: 10 }][..]));
            let other = search(&admin, &format!("q=warning&span={}", SpanId(2))).await;
            assert_eq!((other.count, other.matches.len(), other.next_cursor), (0, 0, None));
            if !compacted {
                finish(&app, &lease, State::Success).await;
                assert!(telemetry::compact_once(&app).await.expect("compact"));
            }
        }
    }

    async fn pages_of_matches_by_cursor_and_by_number(app: TestApp) {
        let (admin, _) = long_log(&app).await;
        let (mut all, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = search(&admin, &format!("q=warning&limit=70{cursor}")).await;
            assert_eq!((page.count, page.first), (300, all.len() as u64 + 1));
            all.extend(numbers(&page));
            pages += 1;
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!((pages, all), (5, (1..=300).map(|n| n * 10).collect()));
        let last = search(&admin, "q=warning&from=299").await;
        assert_eq!((last.count, last.first, numbers(&last)), (300, 299, vec![2990, 3000]));
        assert_eq!(numbers(&search(&admin, "q=warning&from=301").await), [0; 0]);
    }

    async fn a_log_that_grows_is_searched_as_far_as_it_is_written(app: TestApp) {
        let (admin, lease) = long_log(&app).await;
        let page = search(&admin, "q=warning&limit=299").await;
        Script::new(&app).line(1, "one more warning").send(&lease, 3004).await;
        let rest = search(&admin, &format!("q=warning&cursor={}", page.next_cursor.expect("more"))).await;
        assert_eq!((rest.count, numbers(&rest), rest.searched), (300, vec![3000], 3000), "as it was counted");
        assert_eq!(search(&admin, "q=warning&limit=1").await.count, 301);
    }

    async fn what_makes_no_sense_is_refused(app: TestApp) {
        let (admin, _) = long_log(&app).await;
        let long = "x".repeat(201);
        for query in ["", "q=", &format!("q={long}"), "q=x&limit=0", "q=x&limit=1001", "q=x&cursor=zebra",
            "q=x&span=zebra", "q=x&case=perhaps", "q=x&unknown=1"] {
            admin.get(&format!("{SEARCH}?{query}")).await.assert_status(422);
        }
        admin.get(&format!("{SEARCH}?q=x&attempt=2")).await.assert_status(404);
        // A cursor that somebody made up finds what it finds, and breaks nothing.
        let forged = r#"{"line":2,"place":18446744073709551615,"found":18446744073709551615,"count":0,"searched":9999}"#;
        let forged = base64(forged);
        admin.get(&format!("{SEARCH}?q=warning&cursor={forged}")).await.assert_status(200);
    }

    async fn a_stranger_does_not_learn_that_there_is_a_log(app: TestApp) {
        let (admin, _) = long_log(&app).await;
        let stranger = app.person("stranger").await;
        for query in ["q=warning", "", "q=x&limit=0"] {
            let real = stranger.get(&format!("{SEARCH}?{query}")).await.assert_status(404);
            let absent = stranger.get(&format!("{}?{query}", SEARCH.replace("acme", "none"))).await;
            assert_eq!(real.text(), absent.text());
            app.get(&format!("{SEARCH}?{query}")).send().await.assert_status(401);
        }
        admin.get(&format!("{SEARCH}?q=warning")).await.assert_status(200);
    }
}

fn base64(text: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(text)
}
