//! The programs that may ask for a token: our own command line, and those that
//! the configuration names.

use std::fmt;

use devenv_cloud_api::issuer::ClientShown;
use reqwest::Url;

use super::error::OAuthError;
use crate::{
    app::AppParts,
    config::Text,
    identity::{Origin, secret},
};

/// Our own command line. Anybody can run it, so that it has no secret.
pub const CLI: &str = "devenv-cloud-cli";

/// A program that may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its name.
    pub id: String,
    /// The hash of its secret, in hexadecimal digits; none: it is public, and
    /// proves nothing about itself.
    secret_sha256: Option<String>,
    /// Whether it may ask for tokens that open the API.
    pub api: bool,
    /// Where people may be sent back to.
    redirects: Vec<String>,
}

impl Client {
    fn cli() -> Self {
        let redirects = ["http://127.0.0.1/callback", "http://[::1]/callback"];
        Self {
            id: CLI.to_owned(),
            secret_sha256: None,
            api: true,
            redirects: redirects.map(str::to_owned).to_vec(),
        }
    }

    /// Whether it is a part of devenv-cloud.
    #[must_use]
    pub fn is_first_party(&self) -> bool {
        self.id == CLI
    }

    /// Whether it proves nothing about itself.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        self.secret_sha256.is_none()
    }

    /// Whether people may be sent back to this address. It must be one of those
    /// that are known, to the letter; but a program on the person's own machine
    /// gets whatever port is free (RFC 8252 §7.3).
    #[must_use]
    pub fn may_redirect_to(&self, uri: &str) -> bool {
        self.redirects.iter().any(|known| {
            known == uri || without_port(known).is_some_and(|known| without_port(uri) == Some(known))
        })
    }

    /// `ID public|sha256:HASH [api] REDIRECT…`.
    fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let id = words.next().unwrap_or_default().to_owned();
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if id.is_empty() || id.len() > 64 || !id.chars().all(fine) {
            return Err(format!("`{id}` is no name of a client: letters, digits and -_."));
        }
        if id == CLI {
            return Err(format!("`{CLI}` is built in; give yours another name"));
        }
        let secret_sha256 = match words.next().unwrap_or_default() {
            "public" => None,
            word => match word.strip_prefix("sha256:") {
                Some(hash) if hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit()) => {
                    Some(hash.to_ascii_lowercase())
                }
                _ => {
                    return Err(format!(
                        "after `{id}` comes `public` or `sha256:` with the 64 digits that \
                         `printf %s \"$SECRET\" | sha256sum` prints"
                    ));
                }
            },
        };
        let mut words = words.peekable();
        let api = words.next_if_eq(&"api").is_some();
        let redirects: Vec<String> = words.map(str::to_owned).collect();
        if redirects.is_empty() {
            return Err(format!("`{id}` has no address to send people back to"));
        }
        redirects.iter().try_for_each(|uri| check_redirect(uri))?;
        Ok(Self { id, secret_sha256, api, redirects })
    }
}

/// An address on the machine itself, without its port.
fn without_port(uri: &str) -> Option<String> {
    // Parsing is generous: what it would mend is not what was registered.
    let rest = uri.strip_prefix("http://")?;
    let host = ["127.0.0.1", "[::1]"].into_iter().find(|host| rest.starts_with(host))?;
    let rest = &rest[host.len()..];
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    let port = &rest[..rest.len() - path.len()];
    let fine = match port.strip_prefix(':') {
        Some(digits) => digits.parse::<u16>().is_ok_and(|port| port.to_string() == digits),
        None => port.is_empty(),
    };
    fine.then(|| format!("http://{host}{path}"))
}

fn check_redirect(uri: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("people cannot be sent back to `{uri}`: {why}"));
    let Ok(url) = Url::parse(uri) else { return wrong("it is no address") };
    let own = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() != "https" && !(url.scheme() == "http" && own) {
        return wrong("it begins with https://, or with http:// for this machine");
    }
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return wrong("it has a fragment, a name or a password");
    }
    if uri.contains('*') || !uri.is_ascii() || uri.contains(['"', '<', '>', '\\', ';']) {
        return wrong("it has a character that cannot be in one");
    }
    Ok(())
}

/// The clients of the configuration.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Clients(Vec<Client>);

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|client| &client.id)).finish()
    }
}

impl Text for Clients {
    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.split(['\n', ';']).map(str::trim).filter(|line| !line.is_empty());
        let clients = lines.map(Client::parse).collect::<Result<Vec<_>, _>>()?;
        for (at, client) in clients.iter().enumerate() {
            if clients[..at].iter().any(|other| other.id == client.id) {
                return Err(format!("`{}` is there twice", client.id));
            }
        }
        Ok(Self(clients))
    }

    fn show(&self) -> String {
        let lines = self.0.iter().map(|client| {
            let secret = client.secret_sha256.as_ref().map(|hash| format!("sha256:{hash}"));
            let mut words = vec![client.id.clone(), secret.unwrap_or_else(|| "public".to_owned())];
            words.extend(client.api.then(|| "api".to_owned()));
            words.extend(client.redirects.iter().cloned());
            words.join(" ")
        });
        lines.collect::<Vec<_>>().join("; ").show()
    }
}

/// The client of this name.
pub(super) fn find(app: &AppParts, id: &str) -> Option<Client> {
    if id == CLI {
        return Some(Client::cli());
    }
    app.config.issuer.clients.0.iter().find(|client| client.id == id).cloned()
}

/// What people see of it.
#[must_use]
pub fn shown(id: &str) -> ClientShown {
    ClientShown { id: id.to_owned(), first_party: id == CLI }
}

/// How a client says who it is.
#[derive(Clone)]
pub struct Credentials {
    /// Its name.
    pub id: String,
    /// Its secret, if it has one.
    pub secret: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The client that asks.
///
/// # Errors
/// When it is none of ours, or does not prove it. Both sound the same.
pub fn authenticate(app: &AppParts, given: &Credentials, origin: &Origin) -> Result<Client, OAuthError> {
    let client = find(app, &given.id);
    let right = match (&client, &given.secret) {
        (Some(Client { secret_sha256: None, .. }), None) => true,
        (Some(Client { secret_sha256: Some(hash), .. }), Some(given)) => {
            app.issuer.take_asked(origin.address)?;
            // Of two hashes, how far they agree tells nothing about a secret.
            let right = *hash == hex::encode(secret::hash(given.as_bytes()));
            if right {
                app.issuer.give_back_asked(origin.address);
            }
            right
        }
        _ => false,
    };
    client.filter(|_| right).ok_or(OAuthError::InvalidClient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_read_and_shown_again() {
        let hash = "a".repeat(64);
        let text = format!(
            "grafana sha256:{hash} https://grafana.example.com/login;\n editor public api http://127.0.0.1/cb \
             https://editor.example.com/cb?x=1"
        );
        let clients = Clients::parse(&text).unwrap();
        assert_eq!(clients.0.len(), 2);
        assert!(!clients.0[0].is_public() && !clients.0[0].api);
        assert!(clients.0[1].is_public() && clients.0[1].api);
        let shown = clients.show();
        assert_eq!(Clients::parse(shown.trim_matches('"')), Ok(clients));
        assert_eq!(Clients::parse("\n"), Ok(Clients::default()));
        for wrong in [
            "grafana",
            "grafana secret https://a.example",
            "grafana sha256:123 https://a.example",
            "grafana public",
            "grafana public api",
            "grafana public http://a.example/cb",
            "grafana public https://a.example/cb#x",
            "grafana public https://me:you@a.example/cb",
            "grafana public https://*.example/cb",
            "grafana public javascript:alert(1)",
            "grafana public a.example",
            "gra/fana public https://a.example",
            "devenv-cloud-cli public https://a.example",
            "a public https://a.example; a public https://b.example",
        ] {
            assert!(Clients::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn people_are_sent_back_to_known_addresses_and_no_others() {
        let client = Client::parse("a public https://a.example/cb?x=1 http://localhost:99/cb").unwrap();
        assert!(client.may_redirect_to("https://a.example/cb?x=1"));
        for wrong in [
            "https://a.example/cb",
            "https://a.example/cb?x=1&y=2",
            "https://a.example/cb?x=1#f",
            "https://a.example/CB?x=1",
            "https://a.example:443/cb?x=1",
            "https://a.example/../cb?x=1",
            "http://a.example/cb?x=1",
            "https://a.example.evil.example/cb?x=1",
            "https://a.example@evil.example/cb?x=1",
            // Names can be made to lead anywhere: the port is free for numbers alone.
            "http://localhost:98/cb",
        ] {
            assert!(!client.may_redirect_to(wrong), "{wrong}");
        }
        let cli = Client::cli();
        for good in ["http://127.0.0.1:4711/callback", "http://[::1]:1/callback", "http://127.0.0.1/callback"]
        {
            assert!(cli.may_redirect_to(good), "{good}");
        }
        for wrong in [
            "http://127.0.0.1:4711/other",
            "http://127.0.0.1:4711/callback?x=1",
            "http://127.0.0.1:4711@evil.example/callback",
            "http://127.0.0.1.evil.example/callback",
            "http://127.0.0.1:/callback",
            "http://127.0.0.1:99999/callback",
            "http://127.0.0.1:+1/callback",
            "https://127.0.0.1:4711/callback",
            "http://127.0.0.2:4711/callback",
            "http://localhost:4711/callback",
            "http://[::2]:4711/callback",
        ] {
            assert!(!cli.may_redirect_to(wrong), "{wrong}");
        }
    }
}
