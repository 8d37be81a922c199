//! One typed configuration: a TOML file and the environment, nothing else.
//!
//! Every key is declared once, in [`keys`], with its type, its default and its
//! documentation; the command line's `config` and the documentation are made
//! from the same declaration. A key that nobody knows is an error, not a
//! warning: a misspelt limit that is silently ignored is worse than a server
//! that does not start.

mod keys;
mod provider;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

pub use keys::{
    Config, Database, Executor, Issuer, Limits, Log, Mail, Provider, Runner, Server, Sessions, SignIn,
};
pub use provider::{Algorithms, ProviderKind, ResponseMode, Words};
pub use text::{Count, Destinations, Keep, Networks, Secret, Text};

/// What every environment variable begins with.
pub const ENV_PREFIX: &str = "DEVENV_CLOUD_";

/// Variables with our prefix that are no configuration.
const OTHER_VARIABLES: &[&str] = &[
    "DEVENV_CLOUD_CONFIG",
    "DEVENV_CLOUD_ASSETS",
    // Options of `image build`.
    "DEVENV_CLOUD_GUEST",
    "DEVENV_CLOUD_GUEST_PROGRAM",
    "DEVENV_CLOUD_EVALUATOR",
    // What a job finds in its environment: this program may be what it tests.
    "DEVENV_CLOUD_ORG",
    "DEVENV_CLOUD_PROJECT",
    "DEVENV_CLOUD_RUN",
    "DEVENV_CLOUD_RUN_URL",
    "DEVENV_CLOUD_JOB",
    "DEVENV_CLOUD_ATTEMPT",
    "DEVENV_CLOUD_TRIGGER",
    "DEVENV_CLOUD_COMMIT",
    "DEVENV_CLOUD_REF",
    "DEVENV_CLOUD_BRANCH",
    "DEVENV_CLOUD_TAG",
    "DEVENV_CLOUD_LOCAL",
];

/// Beginnings of variables with our prefix that are no configuration.
const OTHER_PREFIXES: &[&str] = &["DEVENV_CLOUD_TEST_", "DEVENV_CLOUD_HOOK_"];

/// A key as it is declared.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The full name, e.g. `server.listen`.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static [&'static str],
    /// The default, as text; empty means that it follows from other keys.
    pub default: &'static str,
}

impl Key {
    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.replace('.', "_").to_uppercase())
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{path} is no valid TOML: {source}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// Why, and where.
        source: Box<toml::de::Error>,
    },
    /// A key that nobody knows.
    #[error("{origin}: there is no key `{key}`{}", nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    Unknown {
        /// The file or the variable.
        origin: String,
        /// The key.
        key: String,
        /// The known name that is closest.
        nearest: Option<String>,
    },
    /// A value that does not fit its key.
    #[error("{origin}: `{key}` cannot be `{value}`: {reason}")]
    Value {
        /// The file or the variable.
        origin: String,
        /// The key.
        key: String,
        /// The value, masked where it is a secret.
        value: String,
        /// What it should be.
        reason: String,
    },
}

/// A value with the place that it came from.
#[derive(Clone, Debug)]
struct Given {
    value: String,
    origin: String,
}

/// The values that were given, by full key name.
#[derive(Debug, Default)]
pub(crate) struct Givens(BTreeMap<String, Given>);

impl Config {
    /// Reads the file (if one is given or `./devenv-cloud.toml` or
    /// `/etc/devenv-cloud/devenv-cloud.toml` exists), then the environment,
    /// which wins.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut givens = Givens::default();
        let usual = ["devenv-cloud.toml", "/etc/devenv-cloud/devenv-cloud.toml"];
        let usual = || usual.iter().map(Path::new).find(|path| path.exists());
        if let Some(path) = file.or_else(usual) {
            givens.add_file(path)?;
        }
        givens.add_environment(environment)?;
        Self::from_givens(&givens)
    }
}

impl Givens {
    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let table: toml::Table = toml::from_str(&text)
            .map_err(|source| ConfigError::Toml { path: path.to_owned(), source: Box::new(source) })?;
        let origin = path.display().to_string();
        for (section, value) in table {
            match value {
                toml::Value::Table(entries) => {
                    for (key, value) in entries {
                        let key = format!("{section}.{key}");
                        match value {
                            toml::Value::Table(entries) if section == Provider::SECTION => {
                                for (last, value) in entries {
                                    self.add(format!("{key}.{last}"), plain(&value), origin.clone())?;
                                }
                            }
                            value => self.add(key, plain(&value), origin.clone())?,
                        }
                    }
                }
                value => self.add(section, plain(&value), origin.clone())?,
            }
        }
        Ok(())
    }

    fn add_environment(
        &mut self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        for (variable, value) in environment {
            let ours = variable.starts_with(ENV_PREFIX)
                && !OTHER_VARIABLES.contains(&variable.as_str())
                && !OTHER_PREFIXES.iter().any(|prefix| variable.starts_with(prefix));
            if !ours {
                continue;
            }
            let known = Config::KEYS.iter().find(|key| key.variable() == variable);
            match known.map(|key| key.name.to_owned()).or_else(|| provider_key(&variable)) {
                Some(key) => self.add(key, value, format!("${variable}"))?,
                None => {
                    let nearest = nearest_provider_variable(&variable)
                        .or_else(|| nearest(&variable, Config::KEYS.iter().map(Key::variable)));
                    return Err(ConfigError::Unknown {
                        origin: "environment".to_owned(),
                        key: variable,
                        nearest,
                    });
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, key: String, value: String, origin: String) -> Result<(), ConfigError> {
        if let Some((name, last)) = of_provider(&key) {
            if !Provider::KEYS.iter().any(|known| known.name == last) {
                let full = |k: &Key| format!("{}.{name}.{}", Provider::SECTION, k.name);
                let nearest = nearest(&key, Provider::KEYS.iter().map(full));
                return Err(ConfigError::Unknown { origin, key, nearest });
            }
        } else if !Config::KEYS.iter().any(|known| known.name == key) {
            let nearest = nearest(&key, Config::KEYS.iter().map(|k| k.name.to_owned()));
            return Err(ConfigError::Unknown { origin, key, nearest });
        }
        self.0.insert(key, Given { value, origin });
        Ok(())
    }

    /// The providers, each checked.
    fn providers(&self) -> Result<BTreeMap<String, Provider>, ConfigError> {
        let names: BTreeSet<&str> =
            self.0.keys().filter_map(|key| of_provider(key)).map(|(name, _)| name).collect();
        let refuse = |key: String, value: String, reason: String| {
            let begins =
                |(given, found): (&String, &Given)| given.starts_with(&key).then(|| found.origin.clone());
            let origin = self.0.iter().find_map(begins).unwrap_or_else(|| "configuration".to_owned());
            ConfigError::Value { origin, key, value, reason }
        };
        let mut providers = BTreeMap::new();
        for name in names {
            let section = format!("{}.{name}", Provider::SECTION);
            provider::check_name(name)
                .map_err(|why| refuse(section.clone(), name.to_owned(), why.to_owned()))?;
            let mut provider = Provider::from_givens(self, name)?;
            provider.derive(name);
            provider.check().map_err(|(key, why)| {
                let key = format!("{section}.{key}");
                let given = self.0.get(&key).map(|given| given.value.clone()).unwrap_or_default();
                refuse(key, given, why)
            })?;
            providers.insert(name.to_owned(), provider);
        }
        Ok(providers)
    }

    fn read<T: Text>(&self, key: &str, default: &str) -> Result<T, ConfigError> {
        let given = self.0.get(key);
        let text = given.map_or(default, |given| given.value.as_str());
        T::parse(text).map_err(|reason| ConfigError::Value {
            origin: given.map_or_else(|| "default".to_owned(), |given| given.origin.clone()),
            key: key.to_owned(),
            value: if T::SECRET { "…".to_owned() } else { text.to_owned() },
            reason,
        })
    }
}

/// The name and the last part of a key of a provider.
fn of_provider(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(Provider::SECTION)?.strip_prefix('.')?.split_once('.')
}

/// The key that a variable of a provider sets: `DEVENV_CLOUD_PROVIDER_MY_IDP_CLIENT_ID`
/// is `provider.my-idp.client_id`.
fn provider_key(variable: &str) -> Option<String> {
    let rest = variable.strip_prefix(&Provider::prefix())?.strip_prefix('_')?;
    Provider::KEYS.iter().find_map(|key| {
        let name = rest.strip_suffix(&key.name.to_uppercase())?.strip_suffix('_')?;
        let name = name.to_lowercase().replace('_', "-");
        (!name.is_empty()).then(|| format!("{}.{name}.{}", Provider::SECTION, key.name))
    })
}

/// Of a variable that begins like a provider's, the one with the nearest key.
fn nearest_provider_variable(variable: &str) -> Option<String> {
    let prefix = Provider::prefix();
    let rest = variable.strip_prefix(&prefix)?.strip_prefix('_')?;
    let (name, _) = rest.split_once('_')?;
    nearest(variable, Provider::KEYS.iter().map(|key| format!("{prefix}_{name}_{}", key.name.to_uppercase())))
}

fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        // A list is as good as words with spaces between them.
        toml::Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// The known name that is closest to what was written, if one is close at all.
fn nearest(given: &str, known: impl IntoIterator<Item = String>) -> Option<String> {
    known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(given, &name), name))
        .filter(|(likeness, _)| *likeness > 0.55)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn every_key_has_a_default_that_parses_and_a_doc() {
        Config::load(Some(file("").path()), env(&[])).unwrap();
        for key in Config::KEYS {
            assert!(!key.doc.is_empty(), "{} has no documentation", key.name);
        }
    }

    #[test]
    fn the_documentation_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        assert!(
            std::fs::read_to_string(path).unwrap_or_default() == Config::documentation(),
            "docs/configuration.md is stale; renew it with \
             `cargo run -p devenv-cloud -- config --documentation > docs/configuration.md`"
        );
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let file = file("[server]\nlisten = \"127.0.0.1:1111\"\n");
        let config =
            Config::load(Some(file.path()), env(&[("DEVENV_CLOUD_SERVER_LISTEN", "127.0.0.1:2222")]));
        assert_eq!(config.unwrap().server.listen.port(), 2222);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_name() {
        let file = file("[server]\nlisten_on = \"x\"\n");
        let error = Config::load(Some(file.path()), env(&[])).unwrap_err().to_string();
        assert!(
            error.contains("`server.listen_on`") && error.contains("did you mean `server.listen`"),
            "{error}"
        );
        let error = Config::load(None, env(&[("DEVENV_CLOUD_SERVER_LISEN", "x")])).unwrap_err().to_string();
        assert!(error.contains("did you mean `DEVENV_CLOUD_SERVER_LISTEN`"), "{error}");
    }

    #[test]
    fn a_wrong_value_says_where_it_stands_and_what_it_should_be() {
        let error =
            Config::load(None, env(&[("DEVENV_CLOUD_EXECUTOR_ENABLED", "maybe")])).unwrap_err().to_string();
        assert!(
            error.contains("$DEVENV_CLOUD_EXECUTOR_ENABLED") && error.contains("true or false"),
            "{error}"
        );
    }

    #[test]
    fn providers_are_sections_with_names() {
        let file = file(
            "[provider.corp]\nissuer = \"https://id.example.com/\"\nclient_id = \"ci\"\nscopes = [\"openid\", \"email\"]\n\
             [provider.github]\nkind = \"github\"\nclient_id = \"x\"\n",
        );
        let config = Config::load(
            Some(file.path()),
            env(&[
                ("DEVENV_CLOUD_PROVIDER_GITHUB_CLIENT_SECRET", "hunter2"),
                ("DEVENV_CLOUD_PROVIDER_MY_LAB_KIND", "gitlab"),
                ("DEVENV_CLOUD_PROVIDER_MY_LAB_CLIENT_ID", "lab"),
                ("DEVENV_CLOUD_PROVIDER_MY_LAB_ISSUER", "https://gitlab.example.com"),
            ]),
        )
        .unwrap();
        assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["corp", "github", "my-lab"]);
        let corp = &config.providers["corp"];
        assert_eq!((corp.label.as_str(), corp.issuer.as_str()), ("corp", "https://id.example.com/"));
        assert_eq!(corp.scopes.0, ["openid", "email"]);
        assert!(!corp.create_accounts);
        let github = &config.providers["github"];
        assert_eq!((github.label.as_str(), github.issuer.as_str()), ("GitHub", "https://github.com"));
        assert_eq!(github.client_secret.reveal(), "hunter2");
        assert_eq!(config.providers["my-lab"].scopes.0, ["openid", "profile", "email"]);
        let shown = config.to_toml();
        assert!(shown.contains("[provider.my-lab]") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn unknown_keys_of_providers_are_refused_with_the_nearest_known_name() {
        let file = file("[provider.corp]\nisuer = \"x\"\n");
        let error = Config::load(Some(file.path()), env(&[])).unwrap_err().to_string();
        assert!(error.contains("did you mean `provider.corp.issuer`"), "{error}");
        let error =
            Config::load(None, env(&[("DEVENV_CLOUD_PROVIDER_CORP_ISUER", "x")])).unwrap_err().to_string();
        assert!(error.contains("did you mean `DEVENV_CLOUD_PROVIDER_CORP_ISSUER`"), "{error}");
    }

    /// RP-07, RP-21: what would make sign-in unsafe cannot be configured.
    #[test]
    fn rp_21_providers_that_cannot_be_meant_are_refused_with_what_to_do() {
        let usual = [("ISSUER", "https://id.example.com"), ("CLIENT_ID", "ci")];
        for (key, value, words) in [
            ("ISSUER", "https://login.microsoftonline.com/common/v2.0", "tenant"),
            ("ISSUER", "https://login.microsoftonline.com/organizations/v2.0", "tenant"),
            ("ISSUER", "https://LOGIN.microsoftonline.com/Common/v2.0", "tenant"),
            ("ISSUER", "https://login.microsoftonline.us/common/v2.0", "tenant"),
            ("ISSUER", "https://sts.windows.net/common/", "tenant"),
            ("ISSUER", "", "well-known"),
            ("ISSUER", "id.example.com", "an address like"),
            ("ISSUER", "https://id.example.com/?x=1", "after a ?"),
            ("CLIENT_ID", "", "registered"),
            ("ALLOWED_ALGORITHMS", "RS256 HS256", "`HS256` is none of"),
            ("ALLOWED_ALGORITHMS", "none", "`none` is none of"),
            ("ALLOWED_ALGORITHMS", "", "at least one"),
            ("SCOPES", "email", "openid"),
            ("KIND", "saml", "one of oidc, github, gitlab, google"),
            ("KIND", "github", "GitHub gives no token"),
            ("RESPONSE_MODE", "fragment", "query, form_post"),
            ("ALLOWED_DOMAINS", "me@example.com", "is no domain"),
        ] {
            let mut pairs: BTreeMap<&str, &str> = usual.into();
            pairs.insert(key, value);
            let all = pairs.iter().map(|(k, v)| (format!("DEVENV_CLOUD_PROVIDER_CORP_{k}"), (*v).to_owned()));
            let error = Config::load(Some(file("").path()), all.collect::<Vec<_>>()).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("corp"), "{key} {value}: {error}");
        }
        let tenant = "https://login.microsoftonline.com/8d5ee5d7-5d4b-4d1e-9c5e-000000000000/v2.0";
        let good = env(&[
            ("DEVENV_CLOUD_PROVIDER_CORP_ISSUER", tenant),
            ("DEVENV_CLOUD_PROVIDER_CORP_CLIENT_ID", "ci"),
        ]);
        Config::load(Some(file("").path()), good).unwrap();
        let file = file("[provider.\"A_b\"]\nclient_id = \"x\"\n");
        let error = Config::load(Some(file.path()), env(&[])).unwrap_err().to_string();
        assert!(error.contains("small letters"), "{error}");
    }

    #[test]
    fn secrets_are_masked_when_the_configuration_is_shown() {
        let config =
            Config::load(None, env(&[("DEVENV_CLOUD_DATABASE_URL", "postgres://me:hunter2@db/ci")])).unwrap();
        let shown = config.to_toml();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
