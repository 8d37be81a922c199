//! Where a person's own runs keep things, and where they find images.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use rustix::fs::Access;

use crate::{config::Config, executor::image};

/// The directory for what may be lost: `$XDG_CACHE_HOME/devenv-cloud`, else
/// `~/.cache/devenv-cloud`.
///
/// # Errors
/// When there is neither of these variables.
pub fn cache_dir() -> io::Result<PathBuf> {
    cache_below(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"))
}

fn cache_below(cache: Option<OsString>, home: Option<OsString>) -> io::Result<PathBuf> {
    // What is not absolute counts as not set (XDG Base Directory Specification).
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(cache)
        .or_else(|| absolute(home).map(|home| home.join(".cache")))
        .map(|cache| cache.join("devenv-cloud"))
        .ok_or_else(|| {
            io::Error::other(
                "there is no directory for a cache: set HOME, or XDG_CACHE_HOME to an absolute path",
            )
        })
}

/// Where machines' images are: where the configuration says; without its word,
/// below the state directory if there are some or it could take some, else
/// below `cache`.
#[must_use]
pub fn image_dir(config: &Config, cache: &Path) -> PathBuf {
    let configured = &config.executor.image_dir;
    if *configured != config.server.state_dir.join("images") || has_images(configured) {
        return configured.clone();
    }
    let own = cache.join("images");
    if has_images(&own) || !could_write(configured) { own } else { configured.clone() }
}

/// Where a new image goes: where the configuration says; without its word and
/// without the right to write there, below `cache`.
#[must_use]
pub fn new_image_dir(config: &Config, cache: &Path) -> PathBuf {
    let configured = &config.executor.image_dir;
    if *configured == config.server.state_dir.join("images") && !could_write(configured) {
        return cache.join("images");
    }
    configured.clone()
}

fn has_images(directory: &Path) -> bool {
    image::list(directory).is_ok_and(|images| !images.is_empty())
}

/// Whether a directory can be written to, or made.
fn could_write(directory: &Path) -> bool {
    let there = directory.ancestors().find(|path| path.exists());
    there.is_some_and(|path| {
        path.is_dir() && rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_others_have_theirs() {
        let set = |text: &str| Some(OsString::from(text));
        assert_eq!(cache_below(set("/c"), set("/h")).unwrap(), Path::new("/c/devenv-cloud"));
        for not_absolute in [None, set(""), set("c")] {
            assert_eq!(cache_below(not_absolute, set("/h")).unwrap(), Path::new("/h/.cache/devenv-cloud"));
        }
        assert!(cache_below(None, None).unwrap_err().to_string().contains("set HOME"));
    }

    #[test]
    fn a_configured_place_is_the_place() {
        let environment = [("DEVENV_CLOUD_EXECUTOR_IMAGE_DIR".to_owned(), "/somewhere".to_owned())];
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = Config::load(Some(file.path()), environment).unwrap();
        assert_eq!(image_dir(&config, Path::new("/cache")), Path::new("/somewhere"));
        assert_eq!(new_image_dir(&config, Path::new("/cache")), Path::new("/somewhere"));
    }

    #[test]
    fn without_a_word_the_state_directory_is_asked_first() {
        let directory = tempfile::tempdir().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let load = |state: &Path| {
            let environment = [("DEVENV_CLOUD_SERVER_STATE_DIR".to_owned(), state.display().to_string())];
            Config::load(Some(file.path()), environment).unwrap()
        };
        let cache = directory.path().join("cache");
        let config = load(&directory.path().join("state"));
        assert_eq!(image_dir(&config, &cache), directory.path().join("state/images"), "it can be made");
        // Nobody, not even root, makes a directory below a file.
        let config = load(&file.path().join("state"));
        assert_eq!(image_dir(&config, &cache), cache.join("images"));
        assert_eq!(new_image_dir(&config, &cache), cache.join("images"));
    }
}
