//! The job's user, its folders, and the names of this machine. What the image
//! has already is left as it is.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, lchown},
    path::Path,
};

use super::{BootError, Trying};
use crate::{
    protocol::{HOST_NAME, SOURCE_DIR, USER_NAME},
    world::JOB_USER,
};

/// Makes sure that there is the user, with a home, a Nix store of its own and a
/// place for the source.
pub(super) fn prepare(root: &Path) -> Result<(), BootError> {
    let (uid, gid) = (JOB_USER.uid, JOB_USER.gid);
    let home = format!("/home/{USER_NAME}");
    let etc = root.join("etc");
    fs::create_dir_all(&etc).trying("make /etc")?;
    add_line(&etc.join("group"), USER_NAME, &format!("{USER_NAME}:x:{gid}:"))?;
    add_line(&etc.join("passwd"), USER_NAME, &format!("{USER_NAME}:x:{uid}:{gid}:devenv:{home}:/bin/bash"))?;
    for folder in [home.as_str(), SOURCE_DIR, "/work"] {
        let folder = root.join(folder.trim_start_matches('/'));
        fs::create_dir_all(&folder)
            .and_then(|()| own(&folder))
            .trying(format_args!("make {}", folder.display()))?;
    }
    own_store(&root.join("nix")).trying("give the Nix store to the job's user")
}

/// Writes down what this machine is called.
pub(super) fn name(root: &Path, host_name: &str) -> Result<(), BootError> {
    let etc = root.join("etc");
    write(&etc.join("hostname"), &format!("{host_name}\n"))?;
    let hosts = format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {host_name} {HOST_NAME}\n");
    write(&etc.join("hosts"), &hosts)
}

/// The image should have /nix owned by the job's user. Where it has not, the
/// folders that Nix writes to are given away: never the paths in the store,
/// which would copy each of them into the scratch disk.
fn own_store(nix: &Path) -> io::Result<()> {
    let state = nix.join("var/nix");
    for folder in [nix.to_owned(), nix.join("store"), nix.join("var"), state.clone(), state.join("db")] {
        fs::create_dir_all(&folder)?;
        own(&folder)?;
    }
    for folder in [state.clone(), state.join("db")] {
        for entry in fs::read_dir(folder)? {
            own(&entry?.path())?;
        }
    }
    Ok(())
}

/// Gives a file away, unless it is given away already.
fn own(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.uid() == JOB_USER.uid {
        return Ok(());
    }
    lchown(path, Some(JOB_USER.uid), Some(JOB_USER.gid))
}

/// Adds a line to a table of colons, unless the name is there.
fn add_line(file: &Path, name: &str, line: &str) -> Result<(), BootError> {
    let what = format!("add {name} to {}", file.display());
    let text = fs::read_to_string(file).unwrap_or_default();
    if text.lines().any(|line| line.split(':').next() == Some(name)) {
        return Ok(());
    }
    let separator = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let mut file = OpenOptions::new().append(true).create(true).open(file).trying(&what)?;
    file.write_all(format!("{separator}{line}\n").as_bytes()).trying(what)
}

fn write(file: &Path, text: &str) -> Result<(), BootError> {
    fs::write(file, text).trying(format_args!("write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_added_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwd");
        fs::write(&file, "root:x:0:0::/root:/bin/sh").unwrap();
        for _ in 0..2 {
            add_line(&file, "devenv", "devenv:x:1000:1000::/home/devenv:/bin/bash").unwrap();
        }
        let text = fs::read_to_string(file).unwrap();
        assert_eq!(text, "root:x:0:0::/root:/bin/sh\ndevenv:x:1000:1000::/home/devenv:/bin/bash\n");
    }
}
