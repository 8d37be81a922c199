//! Where a person's tokens are kept: one file in their configuration directory,
//! for them alone, replaced as a whole. A file that others can read is not
//! used: its tokens may be theirs by now.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use devenv_cloud_api::Timestamp;
use serde::{Deserialize, Serialize};

/// Somebody's access to a server.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) token: String,
    pub(super) email: String,
    pub(super) expires_at: Timestamp,
}

#[derive(Default, Serialize, Deserialize)]
struct Content {
    /// The server that was signed in to last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    #[serde(default)]
    servers: BTreeMap<String, Account>,
}

/// The file.
pub(super) struct CredentialsFile {
    path: PathBuf,
    content: Content,
}

/// Where it is: `$XDG_CONFIG_HOME/devenv-cloud`, else `~/.config/devenv-cloud`.
pub(super) fn path() -> anyhow::Result<PathBuf> {
    path_below(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"))
}

fn path_below(config: Option<OsString>, home: Option<OsString>) -> anyhow::Result<PathBuf> {
    // What is not absolute counts as not set (XDG Base Directory Specification).
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(config)
        .or_else(|| absolute(home).map(|home| home.join(".config")))
        .map(|config| config.join("devenv-cloud/credentials.toml"))
        .context("there is no directory for credentials: set HOME, or XDG_CONFIG_HOME to an absolute path")
}

impl CredentialsFile {
    /// Reads it; one that is not there is empty.
    pub(super) fn open(path: PathBuf) -> anyhow::Result<Self> {
        let rights = match fs::metadata(&path) {
            Ok(metadata) => metadata.permissions().mode(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path, content: Content::default() });
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        if rights & 0o077 != 0 {
            bail!(
                "others can read {0}, and may have your tokens: run `chmod 600 {0}`, and log in anew if you share \
                 this machine with others",
                path.display()
            );
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let content = toml::from_str(&text).map_err(|error| {
            // The error's own words would show the line, with a token.
            anyhow::anyhow!("{} is damaged ({}): remove it, and log in anew", path.display(), error.message())
        })?;
        Ok(Self { path, content })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The server that was signed in to last, or the only one.
    pub(super) fn last(&self) -> Option<&str> {
        let only = || self.content.servers.keys().next().filter(|_| self.content.servers.len() == 1);
        self.content.last.as_ref().or_else(only).map(String::as_str)
    }

    pub(super) fn get(&self, server: &str) -> Option<&Account> {
        self.content.servers.get(server)
    }

    pub(super) fn put(&mut self, server: &str, account: Account) {
        self.content.last = Some(server.to_owned());
        self.content.servers.insert(server.to_owned(), account);
    }

    pub(super) fn take(&mut self, server: &str) -> Option<Account> {
        self.content.last.take_if(|last| last == server);
        self.content.servers.remove(server)
    }

    /// Writes it, or removes it if nothing is in it.
    pub(super) fn save(&self) -> anyhow::Result<()> {
        let cannot = || format!("cannot write {}", self.path.display());
        if self.content.servers.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).with_context(cannot),
                _ => Ok(()),
            };
        }
        if let Some(directory) = self.path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(cannot)?;
        }
        let text = toml::to_string(&self.content).with_context(cannot)?;
        // A name of its own, so that two at once do not write into one file.
        let new = self.path.with_extension(format!("new-{}", std::process::id()));
        let write = || -> io::Result<()> {
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        };
        write().with_context(cannot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(token: &str) -> Account {
        Account {
            token: token.to_owned(),
            email: "ada@example.com".to_owned(),
            expires_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_file_is_where_others_have_theirs() {
        let set = |text: &str| Some(OsString::from(text));
        let end = "devenv-cloud/credentials.toml";
        assert_eq!(path_below(set("/c"), set("/h")).unwrap(), Path::new("/c").join(end));
        assert_eq!(path_below(set("c"), set("/h")).unwrap(), Path::new("/h/.config").join(end));
        assert!(path_below(None, None).unwrap_err().to_string().contains("set HOME"));
    }

    #[test]
    fn several_servers_are_kept_for_the_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("devenv-cloud/credentials.toml");
        let open = || CredentialsFile::open(path.clone()).unwrap();
        let mut file = open();
        assert!(file.last().is_none());
        file.put("https://a.example", account("dvc_a"));
        file.put("https://b.example", account("dvc_b"));
        file.save().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let mut file = open();
        assert_eq!(file.last(), Some("https://b.example"));
        assert_eq!(file.get("https://a.example").unwrap().token, "dvc_a");
        file.take("https://b.example").unwrap();
        file.save().unwrap();
        let mut file = open();
        assert_eq!(file.last(), Some("https://a.example"), "it is the only one");
        file.take("https://a.example").unwrap();
        file.save().unwrap();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn a_file_that_others_can_read_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials.toml");
        let mut file = CredentialsFile::open(path.clone()).unwrap();
        file.put("https://a.example", account("dvc_secret"));
        file.save().unwrap();
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = CredentialsFile::open(path.clone()).err().unwrap().to_string();
            assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "[servers]\nx = { token = \"dvc_secret\" }").unwrap();
        let error = format!("{:#}", CredentialsFile::open(path).err().unwrap());
        assert!(error.contains("log in anew") && !error.contains("dvc_secret"), "{error}");
    }
}
