//! All keys, with their types, defaults and documentation.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr, path::PathBuf};

use super::{
    Algorithms, ConfigError, Count, Destinations, Givens, Keep, Key, Networks, ProviderKind, ResponseMode,
    Secret, Text, Words,
};
use crate::{executor::Room, issuer::Clients};

/// How `docs/configuration.md` begins.
const HEAD: &str = "\
# Configuration

`devenv-cloud` reads one TOML file and the environment; the environment wins. The file is the one named by
`--config` (or `DEVENV_CLOUD_CONFIG`), else `./devenv-cloud.toml`, else `/etc/devenv-cloud/devenv-cloud.toml`.
Every key has a default, so that no file is needed to begin. A key that does not exist is an error.
`devenv-cloud config` prints what is in effect, with secrets masked.

This page is made from the declarations in `server/src/config/keys.rs`: `devenv-cloud config --documentation`.
";

macro_rules! config {
    ($(
        $(#[doc = $sdoc:literal])*
        $section:ident: $Section:ident {
            $($(#[doc = $doc:literal])* $key:ident: $type:ty = $default:literal,)*
        }
    )*) => {
        /// The whole configuration.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[doc = $sdoc])* pub $section: $Section,)*
            /// The providers with which people can sign in, by name.
            pub providers: BTreeMap<String, Provider>,
        }

        $(
            $(#[doc = $sdoc])*
            #[derive(Clone, Debug)]
            pub struct $Section {
                $($(#[doc = $doc])* pub $key: $type,)*
            }
        )*

        impl Config {
            /// Every key.
            pub const KEYS: &'static [Key] = &[$($(
                Key {
                    name: concat!(stringify!($section), ".", stringify!($key)),
                    doc: &[$($doc),*],
                    default: $default,
                },
            )*)*];

            pub(super) fn from_givens(givens: &Givens) -> Result<Self, ConfigError> {
                let mut config = Self {
                    $($section: $Section {
                        $($key: givens.read(concat!(stringify!($section), ".", stringify!($key)), $default)?,)*
                    },)*
                    providers: givens.providers()?,
                };
                config.derive();
                Ok(config)
            }

            /// What is at the start of every section, for the documentation.
            const SECTIONS: &'static [(&'static str, &'static [&'static str])] =
                &[$((stringify!($section), &[$($sdoc),*])),*];

            /// The effective configuration as TOML, every key with its
            /// documentation, secrets masked.
            #[must_use]
            pub fn to_toml(&self) -> String {
                let mut out = String::new();
                $(
                    let _ = writeln!(out, concat!("[", stringify!($section), "]"));
                    $(
                        $(let _ = writeln!(out, "#{}", $doc);)*
                        let _ = writeln!(out, "{} = {}\n", stringify!($key), Text::show(&self.$section.$key));
                    )*
                )*
                for (name, provider) in &self.providers {
                    provider.add_toml(name, &mut out);
                }
                out
            }
        }
    };
}

/// A section that there can be several of, each with a name.
macro_rules! named {
    (
        $(#[doc = $sdoc:literal])*
        $section:ident: $Section:ident {
            $($(#[doc = $doc:literal])* $key:ident: $type:ty = $default:literal,)*
        }
    ) => {
        $(#[doc = $sdoc])*
        #[derive(Clone, Debug)]
        pub struct $Section {
            $($(#[doc = $doc])* pub $key: $type,)*
        }

        impl $Section {
            /// What the names of its keys begin with.
            pub(super) const SECTION: &'static str = stringify!($section);

            /// Every key, by what follows the section's name.
            pub const KEYS: &'static [Key] =
                &[$(Key { name: stringify!($key), doc: &[$($doc),*], default: $default },)*];

            const DOC: &'static [&'static str] = &[$($sdoc),*];

            pub(super) fn from_givens(givens: &Givens, name: &str) -> Result<Self, ConfigError> {
                let full = |key| format!("{}.{name}.{key}", Self::SECTION);
                Ok(Self { $($key: givens.read(&full(stringify!($key)), $default)?,)* })
            }

            fn add_toml(&self, name: &str, out: &mut String) {
                let _ = writeln!(out, "[{}.{name}]", Self::SECTION);
                $(
                    $(let _ = writeln!(out, "#{}", $doc);)*
                    let _ = writeln!(out, "{} = {}\n", stringify!($key), Text::show(&self.$key));
                )*
            }
        }
    };
}

named! {
    /// Another service with which people can sign in. NAME is part of the address that the
    /// service sends people back to: `BASE_URL/sign-in/provider/NAME/callback`. See
    /// [sign-in.md](sign-in.md).
    provider: Provider {
        /// What it speaks: `oidc` (OpenID Connect), `github`, `gitlab` or `google`.
        kind: ProviderKind = "oidc",
        /// What people call it. Empty: the kind's usual name, or NAME.
        label: String = "",
        /// The address of an OpenID Connect issuer, exactly as it calls itself; of a GitLab or
        /// a GitHub Enterprise Server of your own. Empty for gitlab.com, github.com and Google.
        issuer: String = "",
        /// What the provider calls this server.
        client_id: String = "",
        /// The secret that it gave this server.
        client_secret: Secret = "",
        /// What is asked for, with spaces in between. Empty: what sign-in needs.
        scopes: Words = "",
        /// Signatures that are accepted, with spaces in between, whatever the provider says of
        /// itself: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA.
        allowed_algorithms: Algorithms = "RS256 PS256 ES256 EdDSA",
        /// Audiences that its tokens may name beside this server.
        other_audiences: Words = "",
        /// How its answers come back through the browser: `query` or `form_post`.
        response_mode: ResponseMode = "query",
        /// Whether people who have no account here yet get one when they sign in with it.
        /// Their e-mail address must be verified there.
        create_accounts: bool = "false",
        /// Only people with a verified e-mail address in one of these domains may sign in with
        /// it. Empty: everybody who has an account here.
        allowed_domains: Words = "",
    }
}

config! {
    /// Where the server is, inside and outside.
    server: Server {
        /// The address that the server listens on.
        listen: SocketAddr = "127.0.0.1:8080",
        /// The address under which people reach it, without a slash at the end. Cookies
        /// are marked secure when it begins with https.
        base_url: String = "http://localhost:8080",
        /// The address of the listener for /metrics; empty turns it off.
        metrics_listen: Option<SocketAddr> = "127.0.0.1:9464",
        /// Where everything is kept that the server must not lose.
        state_dir: PathBuf = "/var/lib/devenv-cloud",
        /// The file with the keys that seal secrets in the database, made at the first start.
        /// Servers that share a database share its keys. Empty: `secret.key` in the state
        /// directory.
        key_file: PathBuf = "",
        /// The header in which a reverse proxy gives the visitor's address, e.g.
        /// X-Forwarded-For; empty when there is no proxy, since anybody can send it.
        client_ip_header: String = "",
        /// The networks that reverse proxies are in, with commas between them. From anywhere
        /// else the header is not believed.
        trusted_proxies: Networks = "127.0.0.0/8, ::1/128",
    }
    /// The database.
    database: Database {
        /// `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/NAME`. Empty: a SQLite file in
        /// the state directory.
        url: Secret = "",
    }
    /// How long people stay signed in.
    sessions: Sessions {
        /// Hours without a visit after which a session ends.
        idle_hours: u32 = "168",
        /// Days after which a session ends in any case.
        absolute_days: u32 = "30",
        /// Whether people stay signed in when they close the browser: `always`, `never`, or
        /// `choice`, which they make when they sign in.
        keep: Keep = "always",
        /// Hours after which a session ends in any case that does not outlive the browser.
        short_hours: u32 = "24",
    }
    /// How people sign in.
    sign_in: SignIn {
        /// Hosts of identity providers that are not public, or are asked over plain http, with
        /// commas between them: a host and a port each, like `id.corp:443, 10.0.0.5:8080`.
        /// All others must be public and speak https.
        internal_hosts: Destinations = "",
    }
    /// What people and jobs may use.
    limits: Limits {
        /// MiB that one git push may send.
        push_mib: u32 = "512",
        /// MiB of log that one job may write; more is dropped, and counted.
        log_mib: u32 = "256",
        /// MiB that stay free on the disk of the state directory: with less, no push is
        /// taken and no log is stored, so that the server itself can go on.
        disk_reserve_mib: u32 = "256",
        /// Sign-in attempts per minute from one address.
        sign_ins_per_minute: u32 = "30",
    }
    /// Mail to people: confirmations, invitations, resets, notices.
    mail: Mail {
        /// The mail server: `smtps://USER:PASSWORD@HOST` (TLS, port 465) or
        /// `smtp://USER:PASSWORD@HOST` (STARTTLS, port 587), special characters percent-encoded.
        /// Empty: mails are written to `mail` in the state directory, to try things out.
        smtp_url: Secret = "",
        /// Who mails come from, like `CI <ci@example.com>`. Empty: `devenv-cloud` at the host of
        /// `server.base_url`.
        from: String = "",
        /// Whether `smtp://` goes without encryption, also to another machine. To this machine
        /// it always does.
        insecure: bool = "false",
        /// A file with certificates (PEM) of authorities that are trusted with the mail server's
        /// name beside those of the machine.
        ca_file: PathBuf = "",
        /// Seconds that the mail server has to take a mail.
        timeout_seconds: u32 = "60",
    }
    /// Signing in to other programs with an account of this server.
    issuer: Issuer {
        /// Applications that may ask who somebody is, with semicolons or line breaks between
        /// them: `NAME PROOF [api] REDIRECT…`, where PROOF is `public` or `sha256:HASH`.
        /// `docs/issuer.md` has more.
        clients: Clients = "",
    }
    /// Execution of jobs by this server itself.
    executor: Executor {
        /// Whether this server executes jobs.
        enabled: bool = "true",
        /// How many jobs at once; 0 means half the processors, at least one.
        slots: u32 = "0",
        /// MiB of memory that all machines may have together: those that run with their whole
        /// size, templates and machines that wait with what they hold. `auto`: the host's
        /// memory less an eighth, at least 512 MiB less.
        memory_mib: Count = "auto",
        /// Processors that the machines of all jobs may have together: `auto` (twice those of
        /// the host, or two for each of `slots` if that is more) or a number. Few jobs use all
        /// of theirs all the time.
        cpus: Count = "auto",
        /// Where the images are. Empty: `images` in the state directory.
        image_dir: PathBuf = "",
        /// `auto`, `kvm` or `tcg` (software emulation, slow).
        accelerator: String = "auto",
        /// `auto`: machines are isolated by all that this host allows; or `strict`: without
        /// all of it no job is executed. `devenv-cloud doctor` says what is missing.
        isolation: String = "auto",
        /// Machines that wait for jobs, ready to go: `auto` (as many as jobs at once) or a
        /// number. Each needs some 100 MiB of memory.
        pool: Count = "auto",
        /// Whether machines are restored from a frozen one, which takes milliseconds, or
        /// each is booted.
        templates: bool = "true",
        /// The QEMU program.
        qemu: String = "qemu-system-x86_64",
        /// Destinations that are not public and that jobs may reach all the same, with commas
        /// between them: a host and a port each, like `cache.corp:443, 10.0.0.5:8080`. Under
        /// any policy of a project but `off`.
        network_internal: Destinations = "",
    }
    /// `devenv-cloud runner`: execution of jobs for a server on another machine. What machines
    /// are like is in `[executor]`.
    runner: Runner {
        /// The server's address.
        server: String = "",
        /// A registration token, needed at the first start only.
        token: Secret = "",
        /// A file with the registration token.
        token_file: PathBuf = "",
        /// The runner's name, for people. Empty: the machine's.
        name: String = "",
        /// Words that projects can ask for, with commas between them.
        labels: String = "",
        /// Where the runner keeps who it is, and its machines' disks. Empty: `runner` in the
        /// server's state directory.
        state_dir: PathBuf = "",
        /// Seconds that running jobs have to end when the runner is told to stop. Then they
        /// are dropped, and done again elsewhere.
        drain_seconds: u32 = "300",
        /// A file with certificates (PEM) of authorities that the runner trusts beside those
        /// of the machine.
        ca_file: PathBuf = "",
    }
    /// The server's own log, on standard error.
    log: Log {
        /// What is logged: a level, or directives like `info,devenv_cloud::executor=debug`.
        filter: String = "info",
        /// `text` or `json`.
        format: String = "text",
    }
}

impl Config {
    /// `docs/configuration.md`: every key with its default.
    #[must_use]
    pub fn documentation() -> String {
        let mut out = String::from(HEAD);
        for (section, doc) in Self::SECTIONS {
            let _ = writeln!(out, "\n## `[{section}]`\n\n{}\n", doc.concat().trim());
            out.push_str("| key | default | meaning | environment |\n|---|---|---|---|\n");
            let prefix = format!("{section}.");
            for key in Self::KEYS.iter().filter(|key| key.name.starts_with(&prefix)) {
                let default =
                    if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
                let doc = key.doc.concat();
                let name = key.name.trim_start_matches(&prefix);
                let _ = writeln!(out, "| `{name}` | {default} | {} | `{}` |", doc.trim(), key.variable());
            }
        }
        let _ = writeln!(out, "\n## `[{}.NAME]`\n\n{}\n", Provider::SECTION, Provider::DOC.concat().trim());
        out.push_str("| key | default | meaning | environment |\n|---|---|---|---|\n");
        for key in Provider::KEYS {
            let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
            let doc = key.doc.concat();
            let variable = format!("{}_NAME_{}", Provider::prefix(), key.name.to_uppercase());
            let _ = writeln!(out, "| `{}` | {default} | {} | `{variable}` |", key.name, doc.trim());
        }
        out
    }

    /// Fills in what follows from other keys.
    fn derive(&mut self) {
        let state = &self.server.state_dir;
        if self.database.url.reveal().is_empty() {
            self.database.url = format!("sqlite:{}", state.join("devenv-cloud.db").display()).into();
        }
        if self.executor.image_dir.as_os_str().is_empty() {
            self.executor.image_dir = state.join("images");
        }
        if self.server.key_file.as_os_str().is_empty() {
            self.server.key_file = state.join("secret.key");
        }
        if self.runner.state_dir.as_os_str().is_empty() {
            self.runner.state_dir = state.join("runner");
        }
        if self.executor.slots == 0 {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            self.executor.slots = u32::try_from((cores / 2).max(1)).unwrap_or(1);
        }
        while self.server.base_url.ends_with('/') {
            self.server.base_url.pop();
        }
    }
}

impl Provider {
    /// What the variables of all providers begin with.
    pub(super) fn prefix() -> String {
        format!("{}{}", super::ENV_PREFIX, Self::SECTION.to_uppercase())
    }
}

impl Executor {
    /// How many machines wait where this many jobs run at once.
    #[must_use]
    pub const fn pool_of(&self, slots: u32) -> u32 {
        match self.pool {
            // One for each job that may come at any moment.
            Count::Auto => slots,
            Count::Of(count) => count,
        }
    }
}

impl Executor {
    /// What machines may have together on this host.
    #[must_use]
    pub fn room(&self) -> Room {
        let memory_mib = match self.memory_mib {
            Count::Auto => {
                let memory = memory_of_host();
                memory - (memory / 8).max(512).min(memory / 2)
            }
            Count::Of(memory) => memory,
        };
        let cpus = match self.cpus {
            Count::Auto => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                u32::try_from(cores).unwrap_or(u32::MAX).max(self.slots).saturating_mul(2)
            }
            Count::Of(cpus) => cpus,
        };
        Room { memory_mib: memory_mib.max(1), cpus: cpus.max(1) }
    }
}

/// MiB of memory that this process may have: the host's, or its control group's
/// (version 2) if that is less.
fn memory_of_host() -> u32 {
    let of_group = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .unwrap_or(u64::MAX);
    let host = rustix::system::sysinfo();
    let bytes = (host.totalram as u64).saturating_mul(u64::from(host.mem_unit.max(1)));
    u32::try_from(bytes.min(of_group) >> 20).unwrap_or(u32::MAX)
}

impl Server {
    /// Whether people reach the server over https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.base_url.starts_with("https://")
    }
}
