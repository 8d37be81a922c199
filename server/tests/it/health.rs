//! Is it alive, is it ready.

use crate::support::TestApp;

both_engines! {
    async fn a_server_with_a_database_is_ready(app: TestApp) {
        app.get("/readyz").send().await.assert_status(200);
        app.get("/healthz").send().await.assert_status(200);
    }

    async fn a_server_that_lost_its_database_is_alive_but_not_ready(app: TestApp) {
        app.db.close().await;
        app.get("/healthz").send().await.assert_status(200);
        app.get("/readyz").send().await.assert_status(503);
    }

    async fn a_server_that_was_told_to_stop_is_not_ready(app: TestApp) {
        app.shutdown.cancel();
        app.get("/readyz").send().await.assert_status(503);
    }
}
