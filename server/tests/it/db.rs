//! The database layer itself: the same on both engines.

use std::time::Duration;

use devenv_cloud::db::{Db, DbError, Engine, Topic, query};
use devenv_cloud_api::{Timestamp, ids::RunId, permissions::Role};
use uuid::Uuid;

use crate::support::TestApp;

async fn create_values_table(app: &TestApp) {
    let sql = match app.db.engine() {
        Engine::Sqlite => {
            "CREATE TABLE v (id BLOB, time INTEGER, text TEXT, int INTEGER, bool INTEGER, bytes BLOB)"
        }
        Engine::Postgres => {
            "CREATE TABLE v (id UUID, time TIMESTAMPTZ, text TEXT, int BIGINT, bool BOOLEAN, bytes BYTEA)"
        }
    };
    query(sql).execute(&app.db).await.unwrap();
}

const INSERT: &str = "INSERT INTO v (id, time, text, int, bool, bytes) VALUES ($1, $2, $3, $4, $5, $6)";

async fn insert_org(app: &TestApp, slug: &str) -> Result<u64, DbError> {
    query("INSERT INTO orgs (id, slug, display_name, created_at) VALUES ($1, $2, $2, $3)")
        .bind(app.random.id(app.clock.now()))
        .bind(slug)
        .bind(app.clock.now())
        .execute(&app.db)
        .await
}

async fn count_orgs(db: &Db) -> i64 {
    query("SELECT COUNT(*) AS n FROM orgs").one(db).await.unwrap().get("n").unwrap()
}

both_engines! {
    async fn values_come_back_as_they_went_in(app: TestApp) {
        create_values_table(&app).await;
        let id = Uuid::from_u128(0x019b_76da_a800_7000_8000_0000_0000_0001);
        let times = ["2026-01-01T12:34:56.123456Z", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59Z"];
        for (time, text, int, bool, bytes) in [
            (times[0], "plain", 0, true, vec![]),
            (times[1], "", i64::MIN, false, vec![0, 255]),
            (times[2], "'; DROP TABLE v; -- ü 😀", i64::MAX, true, vec![7; 100_000]),
        ] {
            let time: Timestamp = time.parse().unwrap();
            query("DELETE FROM v").execute(&app.db).await.unwrap();
            let insert = query(INSERT).bind(id).bind(time).bind(text).bind(int).bind(bool).bind(bytes.clone());
            assert_eq!(insert.execute(&app.db).await.unwrap(), 1);
            let row = query("SELECT * FROM v WHERE id = $1 AND time = $2 AND text = $3 AND int = $4 AND bool = $5")
                .bind(id)
                .bind(time)
                .bind(text)
                .bind(int)
                .bind(bool)
                .one(&app.db)
                .await
                .unwrap();
            assert_eq!(row.get::<Uuid>("id").unwrap(), id);
            assert_eq!(row.get::<RunId>("id").unwrap(), RunId(id));
            assert_eq!(row.get::<Timestamp>("time").unwrap(), time);
            assert_eq!(row.get::<String>("text").unwrap(), text);
            assert_eq!(row.get::<i64>("int").unwrap(), int);
            assert_eq!(row.get::<bool>("bool").unwrap(), bool);
            assert_eq!(row.get::<Vec<u8>>("bytes").unwrap(), bytes);
        }
    }

    async fn nothing_comes_back_as_nothing(app: TestApp) {
        create_values_table(&app).await;
        query(INSERT)
            .bind(None::<Uuid>)
            .bind(None::<Timestamp>)
            .bind(None::<String>)
            .bind(None::<i64>)
            .bind(None::<bool>)
            .bind(None::<Vec<u8>>)
            .execute(&app.db)
            .await
            .unwrap();
        let row = query("SELECT * FROM v").one(&app.db).await.unwrap();
        assert_eq!(row.get::<Option<Uuid>>("id").unwrap(), None);
        assert_eq!(row.get::<Option<Timestamp>>("time").unwrap(), None);
        assert_eq!(row.get::<Option<String>>("text").unwrap(), None);
        assert_eq!(row.get::<Option<i64>>("int").unwrap(), None);
        assert_eq!(row.get::<Option<bool>>("bool").unwrap(), None);
        assert_eq!(row.get::<Option<Vec<u8>>>("bytes").unwrap(), None);
        // And nothing where there must be something is an error, not a default.
        assert!(row.get::<i64>("int").is_err());
        assert!(row.get::<Timestamp>("time").is_err());
        assert!(row.get::<i64>("no_such_column").is_err());
    }

    async fn a_word_that_nobody_knows_is_an_error(app: TestApp) {
        create_values_table(&app).await;
        query("INSERT INTO v (text, int) VALUES ($1, $2)").bind("emperor").bind(-1).execute(&app.db).await.unwrap();
        let row = query("SELECT text, int FROM v").one(&app.db).await.unwrap();
        assert!(row.get::<Role>("text").unwrap_err().to_string().contains("text"));
        assert!(row.get::<u64>("int").is_err());
    }

    async fn what_is_taken_and_what_dangles_is_said(app: TestApp) {
        insert_org(&app, "acme").await.unwrap();
        let taken = insert_org(&app, "acme").await.unwrap_err();
        assert!(matches!(&taken, DbError::Taken(what) if what.contains("slug")), "{taken:?}");
        let dangling = query("INSERT INTO members (org_id, user_id, role, created_at) VALUES ($1, $1, 'owner', $2)")
            .bind(Uuid::nil())
            .bind(app.clock.now())
            .execute(&app.db)
            .await
            .unwrap_err();
        assert!(matches!(dangling, DbError::Dangling(_)), "{dangling:?}");
    }

    async fn a_transaction_happens_as_a_whole_or_not_at_all(app: TestApp) {
        for commit in [false, true] {
            let mut tx = app.db.begin().await.unwrap();
            for slug in ["a", "b"] {
                query("INSERT INTO orgs (id, slug, display_name, created_at) VALUES ($1, $2, $2, $3)")
                    .bind(app.random.id(app.clock.now()))
                    .bind(slug)
                    .bind(app.clock.now())
                    .execute(&mut tx)
                    .await
                    .unwrap();
            }
            assert_eq!(query("SELECT slug FROM orgs").all(&mut tx).await.unwrap().len(), 2);
            assert_eq!(count_orgs(&app.db).await, 0, "nobody else sees what is not committed");
            if commit {
                tx.commit().await.unwrap();
            } else {
                drop(tx);
            }
            assert_eq!(count_orgs(&app.db).await, if commit { 2 } else { 0 });
        }
    }

    async fn many_who_read_and_then_write_lose_no_update(app: TestApp) {
        create_values_table(&app).await;
        query("INSERT INTO v (text, int) VALUES ('n', 0)").execute(&app.db).await.unwrap();
        let add_one = || async {
            let mut tx = app.db.begin().await.unwrap();
            query("UPDATE v SET text = text").execute(&mut tx).await.unwrap();
            let n: i64 = query("SELECT int FROM v").one(&mut tx).await.unwrap().get("int").unwrap();
            query("UPDATE v SET int = $1").bind(n + 1).execute(&mut tx).await.unwrap();
            tx.commit().await.unwrap();
        };
        futures::future::join_all((0..50).map(|_| add_one())).await;
        let n: i64 = query("SELECT int FROM v").one(&app.db).await.unwrap().get("int").unwrap();
        assert_eq!(n, 50);
    }

    async fn a_schema_from_the_future_is_refused_with_what_to_do(app: TestApp) {
        query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'the future', $1, $2, 0)",
        )
        .bind(true)
        .bind(vec![0])
        .execute(&app.db)
        .await
        .unwrap();
        let error = Db::connect(app.database_url()).await.unwrap_err().to_string();
        assert!(error.contains("schema version 9999") && error.contains("newer devenv-cloud"), "{error}");
        assert!(error.contains("restore the backup"), "{error}");
    }

    async fn connecting_again_changes_nothing(app: TestApp) {
        insert_org(&app, "acme").await.unwrap();
        let second = app.second_process(&[]).await;
        assert_eq!(count_orgs(&second.db).await, 1);
    }

    /// For SQLite the lock on the state directory sees to it; see `process.rs`.
    async fn two_servers_that_start_at_once_do_not_meet_in_the_migrations(app: TestApp) {
        if app.db.engine() == Engine::Sqlite {
            return;
        }
        query("CREATE SCHEMA fresh").execute(&app.db).await.unwrap();
        let fresh = format!("{}?options=-csearch_path%3Dfresh", app.database_url());
        for db in futures::future::join_all((0..4).map(|_| Db::connect(&fresh))).await {
            assert_eq!(count_orgs(&db.unwrap()).await, 0);
        }
    }

    async fn a_wake_up_comes_with_the_commit_and_not_before(app: TestApp) {
        let mut here = app.db.wakeups().subscribe();
        let mut tx = app.db.begin().await.unwrap();
        tx.wake(Topic::Queue);
        drop(tx);
        let run = RunId(Uuid::from_u128(7));
        let mut tx = app.db.begin().await.unwrap();
        tx.wake(Topic::Run(run));
        assert!(here.try_recv().is_err());
        tx.commit().await.unwrap();
        assert_eq!(here.recv().await.unwrap(), Topic::Run(run), "what was rolled back wakes nobody");
    }

    async fn a_wake_up_reaches_another_process(app: TestApp) {
        if app.db.engine() == Engine::Sqlite {
            return; // One process has the file.
        }
        let other = app.second_process(&[]).await;
        let mut there = other.db.wakeups().subscribe();
        let mut tx = app.db.begin().await.unwrap();
        tx.wake(Topic::Queue);
        tx.commit().await.unwrap();
        let woken = tokio::time::timeout(Duration::from_secs(10), there.recv()).await;
        assert_eq!(woken.expect("the wake-up arrives").unwrap(), Topic::Queue);
    }

    async fn a_database_that_is_gone_is_said_to_be(app: TestApp) {
        app.db.close().await;
        assert!(matches!(insert_org(&app, "acme").await, Err(DbError::Unavailable(_))));
        let response = app.get("/api/v1/setup").send().await.assert_status(503);
        assert_eq!(response.problem().kind, "unavailable");
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_with_what_it_should_be() {
    for address in ["mysql://x", "", "/var/lib/x.db"] {
        let error = Db::connect(address).await.unwrap_err().to_string();
        assert!(error.contains("sqlite:PATH"), "{error}");
    }
}
