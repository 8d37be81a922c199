//! Mail: what was written down is sent, once, whatever happens.

use std::{net::IpAddr, os::unix::fs::PermissionsExt as _};

use chrono::TimeDelta;
use devenv_cloud::{
    db,
    identity::{self, Origin, User},
    mail::{self, Delivery, Message, notices},
};
use devenv_cloud_api::{ids::MailId, mail::MailState};

use crate::support::{
    TestApp,
    smtp::{MailServer, Mood},
};

/// The application with a mail server.
async fn with_server(app: &TestApp, server: &MailServer) -> TestApp {
    let url = server.url();
    app.restart(&[
        ("DEVENV_CLOUD_MAIL_SMTP_URL", url.as_str()),
        ("DEVENV_CLOUD_MAIL_FROM", "CI <ci@example.com>"),
        ("DEVENV_CLOUD_MAIL_TIMEOUT_SECONDS", "2"),
    ])
    .await
}

async fn write(app: &TestApp) -> MailId {
    let message = Message::new("ada@example.com", "Ada Lovelace", "Reset your password – now")
        .say("Somebody wants to do something.")
        .link("Do it", "https://ci.example.com/do?token=very-secret")
        .close("This works for an hour.");
    let mut tx = app.db.begin().await.unwrap();
    let id = mail::send(app, &mut tx, message).await.unwrap();
    tx.commit().await.unwrap();
    id
}

async fn pass(app: &TestApp) -> Delivery {
    mail::deliver_once(app).await.unwrap()
}

/// What became of the only mail.
async fn only(app: &TestApp) -> devenv_cloud_api::mail::Mail {
    let mut mails = mail::list(app, None, 10).await.unwrap();
    assert_eq!(mails.len(), 1, "{mails:?}");
    mails.remove(0)
}

async fn content(app: &TestApp, id: MailId) -> Option<Vec<u8>> {
    let row = db::query("SELECT content FROM mails WHERE id = $1").bind(id).one(&app.db).await.unwrap();
    row.get("content").unwrap()
}

both_engines! {
    async fn a_mail_arrives_as_text_and_html(app: TestApp) {
        let server = MailServer::start(Mood::Kind).await;
        let app = with_server(&app, &server).await;
        let id = write(&app).await;
        assert_eq!(pass(&app).await, Delivery::Sent);
        assert_eq!(pass(&app).await, Delivery::Idle);
        let taken = server.taken();
        assert_eq!(taken.len(), 1);
        let mail = &taken[0];
        assert_eq!((mail.from.as_str(), mail.to.as_str()), ("ci@example.com", "ada@example.com"));
        assert_eq!(mail.header("From"), "CI <ci@example.com>");
        assert_eq!(mail.header("To"), "\"Ada Lovelace\" <ada@example.com>");
        assert_eq!(mail.header("Date"), "Thu, 01 Jan 2026 00:00:00 +0000");
        assert_eq!(mail.header("Message-ID"), format!("<{id}@ci.example.com>"));
        assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
        assert!(mail.header("Content-Type").starts_with("multipart/alternative"), "{}", mail.raw);
        let text = mail.part("text/plain");
        assert!(text.starts_with("Hello Ada Lovelace,\n\nSomebody wants"), "{text}");
        assert!(text.contains("\nhttps://ci.example.com/do?token=very-secret\n"), "{text}");
        let html = mail.part("text/html");
        assert!(html.contains("href=\"https://ci.example.com/do?token=very-secret\""), "{html}");
        assert!(server.said().contains(&"EHLO ci.example.com".to_owned()), "{:?}", server.said());
        assert!(!server.said().iter().any(|line| line.starts_with("AUTH")), "nobody gave us a password");
        assert_eq!(only(&app).await.state, MailState::Sent);
    }

    async fn what_waits_is_sealed_and_what_was_sent_is_forgotten(app: TestApp) {
        let server = MailServer::start(Mood::Kind).await;
        let app = with_server(&app, &server).await;
        let id = write(&app).await;
        let sealed = content(&app, id).await.unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains("very-secret"));
        pass(&app).await;
        assert_eq!(content(&app, id).await, None);
        assert!(mail::read(&app, id).await.is_err(), "nobody else reads what was sent");
        app.advance(TimeDelta::days(31));
        mail::delete_old_once(&app).await.unwrap();
        assert!(mail::list(&app, None, 10).await.unwrap().is_empty());
    }

    async fn what_did_not_happen_is_not_announced(app: TestApp) {
        let mut tx = app.db.begin().await.unwrap();
        mail::send(&app, &mut tx, Message::new("ada@example.com", "", "Never")).await.unwrap();
        drop(tx);
        assert_eq!(pass(&app).await, Delivery::Idle);
    }

    async fn a_busy_server_is_asked_again_with_growing_pauses(app: TestApp) {
        let server = MailServer::start(Mood::Busy).await;
        let app = with_server(&app, &server).await;
        write(&app).await;
        assert_eq!(pass(&app).await, Delivery::PutOff);
        assert_eq!(pass(&app).await, Delivery::Idle, "not at once");
        let mail = only(&app).await;
        assert_eq!((mail.state, mail.attempts), (MailState::Waiting, 1));
        assert!(mail.problem.as_deref().unwrap().contains("try again later"), "{mail:?}");
        app.advance(TimeDelta::minutes(1));
        assert_eq!(pass(&app).await, Delivery::PutOff);
        app.advance(TimeDelta::minutes(1));
        assert_eq!(pass(&app).await, Delivery::Idle, "the second pause is longer");
        server.becomes(Mood::Kind);
        app.advance(TimeDelta::minutes(4));
        assert_eq!(pass(&app).await, Delivery::Sent);
        let mail = only(&app).await;
        assert_eq!((mail.state, mail.attempts, mail.problem), (MailState::Sent, 3, None));
    }

    async fn after_two_days_it_is_given_up(app: TestApp) {
        let server = MailServer::start(Mood::Busy).await;
        let app = with_server(&app, &server).await;
        let id = write(&app).await;
        let mut tries = 0;
        while content(&app, id).await.is_some() {
            tries += i32::from(pass(&app).await != Delivery::Idle);
            app.advance(TimeDelta::minutes(30));
        }
        assert!((10..20).contains(&tries), "{tries}");
        assert_eq!(only(&app).await.state, MailState::Failed);
    }

    async fn a_mailbox_that_is_not_there_is_not_asked_for_again(app: TestApp) {
        let server = MailServer::start(Mood::Unknown).await;
        let app = with_server(&app, &server).await;
        let id = write(&app).await;
        assert_eq!(pass(&app).await, Delivery::GaveUp);
        assert_eq!(content(&app, id).await, None);
        let mail = only(&app).await;
        assert_eq!(mail.state, MailState::Failed);
        assert!(mail.problem.unwrap().contains("no such mailbox"));
    }

    async fn an_address_that_is_none_for_mail_is_given_up(app: TestApp) {
        let server = MailServer::start(Mood::Kind).await;
        let app = with_server(&app, &server).await;
        let mut tx = app.db.begin().await.unwrap();
        mail::send(&app, &mut tx, Message::new("..@..", "", "Never")).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(pass(&app).await, Delivery::GaveUp);
    }

    async fn a_server_that_hangs_holds_nobody_up_for_long(app: TestApp) {
        let server = MailServer::start(Mood::Silent).await;
        let app = with_server(&app, &server).await;
        write(&app).await;
        assert_eq!(pass(&app).await, Delivery::PutOff);
        assert!(only(&app).await.problem.unwrap().contains("within 2 seconds"));
        server.becomes(Mood::Kind);
        app.advance(TimeDelta::minutes(1));
        assert_eq!(pass(&app).await, Delivery::Sent);
    }

    async fn a_server_that_dies_in_the_middle_loses_nothing(app: TestApp) {
        let server = MailServer::start(Mood::DiesBefore).await;
        let app = with_server(&app, &server).await;
        write(&app).await;
        assert_eq!(pass(&app).await, Delivery::PutOff);
        server.becomes(Mood::Kind);
        app.advance(TimeDelta::minutes(1));
        assert_eq!(pass(&app).await, Delivery::Sent);
        assert_eq!(server.taken().len(), 1);
    }

    async fn a_server_that_dies_when_it_has_the_mail_does_not_get_it_again(app: TestApp) {
        let server = MailServer::start(Mood::DiesAfter).await;
        let app = with_server(&app, &server).await;
        write(&app).await;
        assert_eq!(pass(&app).await, Delivery::Sent);
        app.advance(TimeDelta::days(1));
        assert_eq!(pass(&app).await, Delivery::Idle);
        assert_eq!(server.taken().len(), 1);
    }

    async fn killed_while_sending_it_is_sent_once_more_and_recognisable(app: TestApp) {
        let server = MailServer::start(Mood::Silent).await;
        let app = with_server(&app, &server).await;
        let id = write(&app).await;
        // The process dies in the middle: the future is dropped, as the process' memory is.
        let sending = mail::deliver_once(&app);
        tokio::select! {
            biased;
            _ = sending => panic!("the server says nothing"),
            () = async {
                // Claimed, so that it is really under way.
                while only(&app).await.attempts == 0 {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
        let app = app.restart(&[("DEVENV_CLOUD_MAIL_SMTP_URL", server.url().as_str())]).await;
        server.becomes(Mood::Kind);
        assert_eq!(pass(&app).await, Delivery::Idle, "it is still claimed");
        app.advance(TimeDelta::minutes(10));
        assert_eq!(pass(&app).await, Delivery::Sent);
        assert_eq!(pass(&app).await, Delivery::Idle);
        let taken = server.taken();
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].header("Message-ID"), format!("<{id}@ci.example.com>"));
    }

    async fn two_servers_do_not_send_the_same_mail(app: TestApp) {
        let server = MailServer::start(Mood::Kind).await;
        let app = with_server(&app, &server).await;
        let second = app.second_process(&[("DEVENV_CLOUD_MAIL_SMTP_URL", server.url().as_str())]).await;
        for _ in 0..8 {
            write(&app).await;
        }
        let all = async |app: &TestApp| while pass(app).await == Delivery::Sent {};
        tokio::join!(all(&app), all(&second));
        let mut ids: Vec<String> = server.taken().iter().map(|mail| mail.header("Message-ID")).collect();
        ids.sort();
        ids.dedup();
        assert_eq!((ids.len(), server.taken().len()), (8, 8));
    }

    async fn a_password_for_the_mail_server_is_used_and_a_wrong_one_puts_off(app: TestApp) {
        let server = MailServer::start(Mood::Locked).await;
        let url = server.url().replace("smtp://", "smtp://ci:hunter2@");
        let app = app.restart(&[("DEVENV_CLOUD_MAIL_SMTP_URL", url.as_str())]).await;
        write(&app).await;
        assert_eq!(pass(&app).await, Delivery::PutOff);
        let problem = only(&app).await.problem.unwrap();
        assert!(problem.contains("does not let us in") && !problem.contains("hunter2"), "{problem}");
        server.becomes(Mood::Kind);
        app.advance(TimeDelta::minutes(1));
        assert_eq!(pass(&app).await, Delivery::Sent);
        assert_eq!(server.taken()[0].from, "devenv-cloud@ci.example.com");
    }

    async fn encryption_that_is_not_offered_is_not_done_without(app: TestApp) {
        // Not this machine by its name, so it takes STARTTLS, which this server has not.
        let server = MailServer::start(Mood::Kind).await;
        let url = format!("smtp://ci:hunter2@[::ffff:127.0.0.1]:{}", server.address.port());
        let app = app.restart(&[("DEVENV_CLOUD_MAIL_SMTP_URL", url.as_str())]).await;
        write(&app).await;
        assert_eq!(pass(&app).await, Delivery::PutOff);
        assert!(only(&app).await.problem.unwrap().contains("cannot encrypt"));
        assert!(server.said().iter().all(|line| line.starts_with("EHLO") || line == "QUIT"), "{:?}", server.said());
        let insecure = [("DEVENV_CLOUD_MAIL_SMTP_URL", url.as_str()), ("DEVENV_CLOUD_MAIL_INSECURE", "true")];
        let app = app.restart(&insecure).await;
        app.advance(TimeDelta::minutes(1));
        assert_eq!(pass(&app).await, Delivery::Sent);
    }

    async fn without_a_mail_server_mails_are_files_for_the_owner_alone(app: TestApp) {
        let id = write(&app).await;
        let mails = app.mails().await;
        assert_eq!(mails.len(), 1);
        assert!(mails[0].text.contains("token=very-secret"), "{}", mails[0].text);
        assert_eq!(only(&app).await.state, MailState::Written);
        let directory = app.config.server.state_dir.join("mail");
        let rights = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(rights(&directory), 0o700);
        for kind in ["eml", "txt"] {
            assert_eq!(rights(&directory.join(format!("{id}.{kind}"))), 0o600);
        }
        app.advance(TimeDelta::days(31));
        mail::delete_old_once(&app).await.unwrap();
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    }

    async fn notices_say_what_when_from_where_and_what_to_do(app: TestApp) {
        let admin = app.set_up().await;
        let user = identity::find_user(&app.db, admin.user_id().await).await.unwrap().unwrap();
        let origin = Origin {
            address: IpAddr::from([192, 0, 2, 1]),
            user_agent: "Mozilla/5.0 (X11; Linux) Firefox/140.0 <b>visit evil.example</b>".to_owned(),
        };
        let mut tx = app.db.begin().await.unwrap();
        notices::passkey_added(&app, &mut tx, &user, "<i>Yubi</i>", &origin).await.unwrap();
        notices::passkey_removed(&app, &mut tx, &user, "Yubi", &origin).await.unwrap();
        notices::passkey_suspected(&app, &mut tx, &user, "Yubi", &origin).await.unwrap();
        notices::codes_added(&app, &mut tx, &user, &origin).await.unwrap();
        notices::codes_removed(&app, &mut tx, &user, &origin).await.unwrap();
        notices::recovery_codes_made(&app, &mut tx, &user, &origin).await.unwrap();
        notices::recovery_code_used(&app, &mut tx, &user, 1, &origin).await.unwrap();
        notices::password_changed(&app, &mut tx, &user, &origin).await.unwrap();
        notices::password_reset(&app, &mut tx, &user, &origin).await.unwrap();
        notices::account_linked(&app, &mut tx, &user, "GitHub (octocat)", &origin).await.unwrap();
        notices::account_unlinked(&app, &mut tx, &user, "GitHub (octocat)", &origin).await.unwrap();
        notices::provider_sign_in(&app, &mut tx, &user, "GitHub (octocat)", &origin).await.unwrap();
        let moved = User { email: "new@example.com".to_owned(), ..user.clone() };
        notices::email_changed(&app, &mut tx, &moved, &user.email, &origin).await.unwrap();
        tx.commit().await.unwrap();
        let mails = app.mails().await;
        assert_eq!(mails.len(), 14);
        for mail in &mails {
            let flat = mail.text.replace('\n', " ");
            assert!(flat.contains("on 1 January 2026 at 00:00 UTC, from the address 192.0.2.1 with Firefox on Linux."), "{flat}");
            assert!(flat.contains("If it was not:"), "{flat}");
            assert!(!flat.contains("evil.example"), "{flat}");
        }
        // The old address and the new one.
        let moved = mails.iter().filter(|mail| mail.subject.contains("e-mail address"));
        let mut to: Vec<&str> = moved.map(|mail| mail.recipient.as_str()).collect();
        to.sort_unstable();
        assert_eq!(to, ["admin@example.com", "new@example.com"]);
    }
}
