//! `devenv-cloud serve`: puts the application together, starts what runs in
//! the background, and listens until it is told to stop.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use object_store::local::LocalFileSystem;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    app::{App, AppParts},
    clock::{Clock, Random},
    config::Config,
    db::Db,
    executor::{
        Egress, Executor, ExecutorSettings,
        machine::{MachineSettings, QemuMachines},
    },
    identity::{self, Guards},
    issuer::{self, Issuer},
    mail::{self, Mailer},
    metrics::Metrics,
    once,
    outgoing::Outgoing,
    people::Limits,
    runners,
    runs::{self, LocalControlPlane},
    seal::Seal,
    sso::Sso,
    web,
};

/// How long running jobs may take to end when the server is told to stop. What
/// has not ended by then is done again at the next start.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// Serves until the process is told to stop.
///
/// # Errors
/// When something that the server needs is not there; the sentence says what.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let state_dir = config.server.state_dir.clone();
    prepare_state_dir(&state_dir)?;
    let _lock = lock_state_dir(&state_dir)?;
    let app = assemble(config, Clock::system(), Random::system()).await?;

    if let Err(error) = crate::projects::remove_orphans_once(&app).await {
        tracing::warn!(
            error = format!("{error:#}"),
            "left-over repositories could not be removed; trying again at the next start"
        );
    }

    let listen = app.config.server.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;

    let stop = app.shutdown.clone();
    tokio::spawn(async move {
        stop_signal().await;
        tracing::info!("stopping");
        stop.cancel();
    });
    if let Some(address) = app.config.server.metrics_listen {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address} for metrics"))?;
        let (router, stop) = (web::metrics_router(app.clone()), app.shutdown.clone());
        tokio::spawn(async move {
            let server = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = server.await {
                tracing::error!(%error, "the listener for metrics ended");
            }
        });
    }

    tracing::info!(%address, url = app.config.server.base_url, "listening");
    welcome(&app).await?;
    tokio::spawn(keep_house(app.clone()));
    // Before anything is claimed: what is still marked as ours now is a dead process' work.
    runs::put_right_after_restart(&app)
        .await
        .context("cannot put right what the last process left behind")?;
    tokio::spawn(runs::drive(app.clone()));
    let mail = tokio::spawn(mail::drive(app.clone()));
    let executor = tokio::spawn(execute(app.clone()));
    let router = web::router(app.clone()).into_make_service_with_connect_info::<std::net::SocketAddr>();
    axum::serve(listener, router).with_graceful_shutdown(app.shutdown.clone().cancelled_owned()).await?;
    let _ = executor.await;
    // What is being sent this moment may end, so that it is not sent twice.
    let _ = tokio::time::timeout(DRAIN, mail).await;
    app.db.close().await;
    Ok(())
}

/// Executes jobs in this process, if it is to, until the server stops.
async fn execute(app: App) {
    if !app.config.executor.enabled {
        // It may have been, when this server last ran.
        if let Err(error) = runners::leave_embedded(&app).await {
            tracing::warn!(%error, "cannot note that this server executes nothing");
        }
        return;
    }
    let config = &app.config.executor;
    let machines = MachineSettings::of(config, app.config.server.state_dir.clone());
    let machines = Arc::new(QemuMachines::start(machines).await);
    machines.expect_usual().await;
    let settings = ExecutorSettings { slots: config.slots, room: config.room(), drain: DRAIN };
    let control = Arc::new(LocalControlPlane::new(app.clone()));
    let (clock, random) = (app.clock.clone(), app.random.clone());
    let egress = Egress::new(&config.network_internal.0);
    let executor = Executor::new(settings, control, machines.clone(), egress, clock, random);
    executor.run(app.shutdown.clone()).await;
    machines.stop().await;
    if let Err(error) = runners::leave_embedded(&app).await {
        tracing::warn!(%error, "cannot note that this server executes nothing any more");
    }
}

/// Puts the application together.
///
/// # Errors
/// When the database or the store cannot be opened.
pub async fn assemble(config: Config, clock: Clock, random: Random) -> anyhow::Result<App> {
    let db = Db::connect(config.database.url.reveal()).await?;
    let objects = config.server.state_dir.join("objects");
    std::fs::create_dir_all(&objects).with_context(|| format!("cannot create {}", objects.display()))?;
    let objects = LocalFileSystem::new_with_prefix(objects)?.with_automatic_cleanup(false).with_fsync(true);
    let instance =
        runs::instance_id(&config.server.state_dir, &random).context("cannot write the server's name")?;
    let identity = Guards::new(&config, &clock);
    let mailer = Mailer::new(&config)?;
    let issuer = Issuer::new(&clock);
    let outgoing = Outgoing::new(&config.sign_in.internal_hosts.0);
    let sso = Sso::new(&config);
    let people = Limits::new(&clock);
    let seal = Seal::from_file(&config.server.key_file, &random)?;
    Ok(Arc::new(AppParts {
        config,
        identity,
        issuer,
        outgoing,
        sso,
        seal,
        db,
        clock,
        random,
        objects: Arc::new(objects),
        instance,
        mailer,
        people,
        forge: crate::forge::Forge::default(),
        telemetry: crate::telemetry::Telemetry::default(),
        metrics: Metrics::new()?,
        shutdown: CancellationToken::new(),
    }))
}

/// Says what whoever started the server must know now.
async fn welcome(app: &App) -> anyhow::Result<()> {
    if !app.config.server.is_https() {
        tracing::warn!(
            "server.base_url is not https: session cookies cannot be protected in transit. Put a proxy that speaks \
             TLS in front before anybody but this machine connects"
        );
    }
    if let Some(link) = identity::announce(app).await? {
        // For a person, whatever form the log has; and never in the log.
        eprintln!(
            "\nNobody has an account yet. Create the first one, which administrates this instance:\n\n    {link}\n"
        );
    }
    Ok(())
}

/// Deletes what has ended by itself, now and then.
async fn keep_house(app: App) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(600));
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = identity::delete_expired_sessions_once(&app).await {
            tracing::warn!(%error, "expired sessions could not be deleted; trying again later");
        }
        if let Err(error) = once::delete_expired_once(&app).await {
            tracing::warn!(%error, "expired links and ceremonies could not be deleted; trying again later");
        }
        if let Err(error) = issuer::delete_expired_once(&app).await {
            tracing::warn!(%error, "old logins of command lines could not be deleted; trying again later");
        }
        if let Err(error) = issuer::rotate_once(&app).await {
            tracing::warn!(%error, "there may be no new signing key in time; trying again later");
        }
        if let Err(error) = mail::delete_old_once(&app).await {
            tracing::warn!(
                error = format!("{error:#}"),
                "old mails could not be forgotten; trying again later"
            );
        }
        if let Err(error) = web::delete_old_answers_once(&app).await {
            tracing::warn!(%error, "old answers could not be deleted; trying again later");
        }
    }
}

fn prepare_state_dir(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| {
        format!(
            "cannot create the state directory {}; set server.state_dir (or DEVENV_CLOUD_SERVER_STATE_DIR) to a \
             directory that this user may write",
            path.display()
        )
    })?;
    // Made by somebody else, perhaps: what is in it is nobody else's business.
    let rights = std::fs::metadata(path)?.permissions().mode();
    if rights & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(rights & 0o700)).with_context(
            || format!("others may look into the state directory {}; run `chmod 700` on it", path.display()),
        )?;
        tracing::warn!(path = %path.display(), "others could look into the state directory; now they cannot");
    }
    Ok(())
}

/// One server per state directory. The lock ends with the process, however it ends.
fn lock_state_dir(path: &Path) -> anyhow::Result<std::fs::File> {
    let file = path.join("lock");
    let lock = std::fs::File::create(&file).with_context(|| format!("cannot create {}", file.display()))?;
    lock.try_lock().map_err(|_| {
        anyhow::anyhow!("another devenv-cloud already serves from {}; stop it first", path.display())
    })?;
    Ok(lock)
}

/// Completes when the process is asked to end.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
