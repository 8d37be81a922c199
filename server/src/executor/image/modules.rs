//! Which kernel modules a machine needs, and in which order they are loaded.
//! Only these go into the initial RAM file system: no `udev`, no `modprobe`.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use super::{ImageError, tools};

/// What every machine needs: its transport, disks, channel and file systems.
pub(super) const WANTED: [&str; 6] =
    ["virtio_mmio", "virtio_blk", "virtio_console", "erofs", "overlay", "ext4"];

/// A module, ready for `finit_module`.
#[derive(Debug)]
pub(super) struct Module {
    /// The name with underscores, without a suffix.
    pub(super) name: String,
    /// The object file, uncompressed.
    pub(super) object: Vec<u8>,
}

/// The wanted modules and all that they depend on, dependencies first. Those
/// that are built into the kernel need no loading and are left out.
pub(super) fn closure(directory: &Path, wanted: &[&str]) -> Result<Vec<Module>, ImageError> {
    let mut files = BTreeMap::new();
    collect(directory, &mut files)?;
    let builtin_list = directory.join("modules.builtin");
    let builtin = std::fs::read_to_string(&builtin_list)
        .map_err(|e| ImageError::io("cannot read", &builtin_list, e))?
        .lines()
        .filter_map(|line| module_name(Path::new(line)))
        .collect::<HashSet<_>>();

    order(wanted, |name| {
        if builtin.contains(name) {
            return Ok(None);
        }
        let Some(path) = files.get(name) else {
            return Err(ImageError::Kernel(format!(
                "it has no module {name} (looked in {})",
                directory.display()
            )));
        };
        read_module(path).map(Some)
    })
}

/// Depth first over `depends=`; `load` gives `None` for what is built in.
fn order(
    wanted: &[&str],
    mut load: impl FnMut(&str) -> Result<Option<Vec<u8>>, ImageError>,
) -> Result<Vec<Module>, ImageError> {
    enum Step {
        Visit(String),
        Emit(Module),
    }
    let mut seen = HashSet::new();
    let mut modules = Vec::new();
    let mut steps: Vec<_> = wanted.iter().rev().map(|name| Step::Visit(name.replace('-', "_"))).collect();
    while let Some(step) = steps.pop() {
        match step {
            Step::Emit(module) => modules.push(module),
            Step::Visit(name) => {
                if !seen.insert(name.clone()) {
                    continue;
                }
                if let Some(object) = load(&name)? {
                    let needs = dependencies(&object);
                    steps.push(Step::Emit(Module { name, object }));
                    steps.extend(needs.into_iter().rev().map(Step::Visit));
                }
            }
        }
    }
    Ok(modules)
}

/// The `depends=` entry of the `.modinfo` section: NUL-terminated `key=value`
/// strings, so that a look at the bytes is enough.
fn dependencies(object: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = object.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = &object[start + KEY.len()..];
    let value = value.split(|&b| b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (name, _) = file.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

fn collect(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), ImageError> {
    let cannot_read = |e| ImageError::io("cannot read", directory, e);
    for entry in std::fs::read_dir(directory).map_err(cannot_read)? {
        let path = entry.map_err(cannot_read)?.path();
        if path.is_dir() && !path.is_symlink() {
            collect(&path, files)?;
        } else if let Some(name) = module_name(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

fn read_module(path: &Path) -> Result<Vec<u8>, ImageError> {
    let bytes = std::fs::read(path).map_err(|e| ImageError::io("cannot read", path, e))?;
    match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => tools::filter("xz", &["-dc"], bytes),
        Some("zst") => tools::filter("zstd", &["-dc"], bytes),
        Some("gz") => tools::filter("gzip", &["-dc"], bytes),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(depends: &str) -> Vec<u8> {
        format!("\x7fELF…\0license=GPL\0depends={depends}\0retpoline=Y\0").into_bytes()
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let modules = order(&["virtio_blk", "virtio-console", "ext4"], |name| {
            Ok(match name {
                "virtio_blk" | "virtio_console" => Some(object("virtio,virtio_ring")),
                "virtio" => Some(object("virtio-ring")),
                "virtio_ring" => Some(object("")),
                "ext4" => None,
                other => panic!("asked for {other}"),
            })
        })
        .unwrap();
        let names: Vec<_> = modules.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["virtio_ring", "virtio", "virtio_blk", "virtio_console"]);
    }

    #[test]
    fn a_missing_module_is_named() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n").unwrap();
        assert!(closure(directory.path(), &["ext4"]).unwrap().is_empty());
        let error = closure(directory.path(), &["ext4", "erofs"]).unwrap_err();
        assert!(error.to_string().contains("no module erofs"), "{error}");
    }

    #[test]
    fn modules_are_found_under_any_name() {
        assert_eq!(module_name(Path::new("kernel/x/crc32c-intel.ko.xz")).unwrap(), "crc32c_intel");
        assert_eq!(module_name(Path::new("modules.order")), None);
    }
}
