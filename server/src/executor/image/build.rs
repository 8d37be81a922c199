//! Builds an image: `devenv-cloud image build`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use devenv_cloud_api::Timestamp;
use devenv_cloud_guest::protocol;
use sha2::{Digest as _, Sha256};

use super::{
    FORMAT, FileEntry, INITRD, Image, ImageError, KERNEL, MANIFEST, Manifest, ROOT, cpio::Archive, hash_file,
    kernel, list, modules, root, tools,
};

/// Changes whenever the recipe below changes what comes out of it.
const RECIPE: u32 = 1;

/// Where the kernel comes from. Debian 12's boots a machine fastest of those
/// tried.
const KERNEL_SUITE: &str = "bookworm";
const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";

/// What an image is built from.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// The directory of images.
    pub images: PathBuf,
    /// PID 1: the static binary `devenv-cloud-guest`.
    pub guest: PathBuf,
    /// The built-in evaluator: the directory `guest/nix`.
    pub evaluator: PathBuf,
    /// Build even if there is an image of the same inputs (newer packages).
    pub force: bool,
    /// The time now.
    pub now: Timestamp,
    /// Told what is being done, in words.
    pub on_step: fn(&str),
}

/// Builds an image, or finds the one that was built from the same inputs.
/// Two builds at a time wait for each other.
///
/// # Errors
/// Each says what to do.
pub async fn build(options: BuildOptions) -> Result<Image, ImageError> {
    let task = tokio::task::spawn_blocking(move || build_blocking(&options));
    match task.await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn build_blocking(options: &BuildOptions) -> Result<Image, ImageError> {
    let inputs = Inputs::read(options)?;
    let images = options.images.as_path();
    fs::create_dir_all(images).map_err(|e| ImageError::io("cannot make the directory", images, e))?;

    let lock_path = images.join(".lock");
    let lock = File::create(&lock_path).map_err(|e| ImageError::io("cannot open", &lock_path, e))?;
    if lock.try_lock().is_err() {
        (options.on_step)("another build is under way; waiting for it");
        lock.lock().map_err(|e| ImageError::io("cannot lock", &lock_path, e))?;
    }
    remove_leftovers(images)?;

    if !options.force
        && let Some(image) = list(images)?.into_iter().find(|image| image.manifest.inputs == inputs.hash)
        && image.verify(false).is_ok()
    {
        return Ok(image);
    }
    tools::require_all()?;

    let work = tempfile::Builder::new()
        .prefix(LEFTOVER)
        .tempdir_in(images)
        .map_err(|e| ImageError::io("cannot make a directory in", images, e))?;
    let made = work.path().join("image");
    fs::create_dir(&made).map_err(|e| ImageError::io("cannot make the directory", &made, e))?;

    let mut packages = Vec::new();
    (options.on_step)("fetching the kernel");
    let kernel_release = build_kernel(work.path(), &made, &inputs.guest, &mut packages)?;
    (options.on_step)("fetching Nix, git and a shell");
    let tree = work.path().join("root");
    unpack_packages(root::SUITE, root::PACKAGES, &tree, &mut packages)?;
    (options.on_step)("making the root file system");
    root::furnish(&tree, &options.evaluator)?;
    make_root_image(&tree, &made.join(ROOT), &inputs.hash)?;
    packages.sort();
    packages.dedup();

    (options.on_step)("verifying");
    seal(options, &inputs, &made, kernel_release, packages)
}

/// Writes the manifest and gives the image its name.
fn seal(
    options: &BuildOptions,
    inputs: &Inputs,
    made: &Path,
    kernel: String,
    packages: Vec<String>,
) -> Result<Image, ImageError> {
    let mut id = Sha256::new();
    id.update(&inputs.hash);
    let mut files = std::collections::BTreeMap::new();
    for name in [KERNEL, INITRD, ROOT] {
        let path = made.join(name);
        let (size, sha256) = hash_file(&path)?;
        id.update(&sha256);
        files.insert(name.to_owned(), FileEntry { size, sha256 });
        // QEMU reads these as another, unprivileged user.
        sync(&path)?;
    }
    let manifest = Manifest {
        format: FORMAT,
        protocol: protocol::VERSION,
        inputs: inputs.hash.clone(),
        built_at: options.now,
        kernel,
        packages,
        files,
    };
    let path = made.join(MANIFEST);
    let json =
        serde_json::to_vec_pretty(&manifest).map_err(|e| ImageError::io("cannot write", &path, e.into()))?;
    fs::write(&path, json).map_err(|e| ImageError::io("cannot write", &path, e))?;
    sync(&path)?;

    let id = hex::encode(&id.finalize()[..10]);
    let dir = options.images.join(&id);
    if dir.exists() {
        // The same contents again: a forced build that found nothing new, or a
        // damaged image that is made whole here.
        fs::remove_dir_all(&dir).map_err(|e| ImageError::io("cannot replace", &dir, e))?;
    }
    fs::rename(made, &dir).map_err(|e| ImageError::io("cannot move the image to", &dir, e))?;
    sync(&options.images)?;
    let image = Image { id, dir, manifest };
    image.verify(true)?;
    Ok(image)
}

fn sync(path: &Path) -> Result<(), ImageError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| ImageError::io("cannot write", path, e))
}

/// What identifies a build before it is made.
struct Inputs {
    hash: String,
    guest: Vec<u8>,
}

impl Inputs {
    fn read(options: &BuildOptions) -> Result<Self, ImageError> {
        let guest = fs::read(&options.guest).map_err(|_| ImageError::Input {
            what: "the guest's program",
            path: options.guest.clone(),
            how: "this program was built without it: run `cargo xtask build`, or name it with --guest",
        })?;
        let evaluator = &options.evaluator;
        if !evaluator.join("default.nix").is_file() {
            return Err(ImageError::Input {
                what: "the built-in evaluator (default.nix)",
                path: evaluator.clone(),
                how: "name the directory `guest/nix` of the source with --evaluator",
            });
        }
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(&RECIPE.to_le_bytes());
        add(&FORMAT.to_le_bytes());
        add(&protocol::VERSION.to_le_bytes());
        add(&Sha256::digest(&guest));
        let mut files = Vec::new();
        collect_files(evaluator, &mut files)?;
        files.sort();
        for path in files {
            let relative = path.strip_prefix(evaluator).unwrap_or(&path);
            add(relative.as_os_str().as_encoded_bytes());
            add(&fs::read(&path).map_err(|e| ImageError::io("cannot read", &path, e))?);
        }
        Ok(Self { hash: hex::encode(hash.finalize()), guest })
    }
}

fn collect_files(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), ImageError> {
    let cannot_read = |e| ImageError::io("cannot read", directory, e);
    for entry in fs::read_dir(directory).map_err(cannot_read)? {
        let path = entry.map_err(cannot_read)?.path();
        if path.is_dir() { collect_files(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

const LEFTOVER: &str = ".build-";

/// What a build that was killed left behind; the lock says that none is running.
fn remove_leftovers(images: &Path) -> Result<(), ImageError> {
    let cannot_read = |e| ImageError::io("cannot read", images, e);
    for entry in fs::read_dir(images).map_err(cannot_read)? {
        let path = entry.map_err(cannot_read)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(LEFTOVER)) {
            fs::remove_dir_all(&path).map_err(|e| ImageError::io("cannot remove", &path, e))?;
        }
    }
    Ok(())
}

/// Unpacks packages and all that they depend on, and notes their versions.
fn unpack_packages(
    suite: &str,
    names: &[&str],
    into: &Path,
    packages: &mut Vec<String>,
) -> Result<(), ImageError> {
    let mode = if rustix::process::geteuid().is_root() { "--mode=root" } else { "--mode=chrootless" };
    let include = format!("--include={}", names.join(","));
    // The archives are kept for a moment: their names say the versions.
    let mut arguments = [mode, "--variant=extract", "--skip=cleanup/apt/cache", &include, suite]
        .map(std::ffi::OsString::from)
        .to_vec();
    arguments.push(into.into());
    tools::run("mmdebstrap", &arguments)?;

    let archives = into.join("var/cache/apt/archives");
    let cannot_read = |e| ImageError::io("cannot read", &archives, e);
    for entry in fs::read_dir(&archives).map_err(cannot_read)? {
        let name = entry.map_err(cannot_read)?.file_name();
        let name = name.to_string_lossy();
        if let Some(stem) = name.strip_suffix(".deb")
            && let [package, version, _architecture] = stem.split('_').collect::<Vec<_>>()[..]
        {
            packages.push(format!("{package} {}", version.replace("%3a", ":")));
        }
    }
    Ok(())
}

/// Kernel and initial RAM file system. Returns the kernel's release.
fn build_kernel(
    work: &Path,
    made: &Path,
    guest: &[u8],
    packages: &mut Vec<String>,
) -> Result<String, ImageError> {
    let tree = work.join("kernel");
    unpack_packages(KERNEL_SUITE, &[KERNEL_PACKAGE], &tree, packages)?;
    // Only the kernel's own package matters to a machine; the rest of what apt
    // fetched with it (initramfs-tools, …) is not in the image.
    packages.retain(|package| package.starts_with("linux-image-"));

    let all_modules = tree.join("usr/lib/modules");
    let all_modules = if all_modules.is_dir() { all_modules } else { tree.join("lib/modules") };
    let release = fs::read_dir(&all_modules)
        .map_err(|e| ImageError::io("cannot read", &all_modules, e))?
        .find_map(|entry| entry.ok()?.file_name().into_string().ok())
        .ok_or_else(|| ImageError::Kernel(format!("{KERNEL_PACKAGE} has no modules")))?;
    let packed = tree.join("boot").join(format!("vmlinuz-{release}"));
    let packed = fs::read(&packed).map_err(|e| ImageError::io("cannot read", &packed, e))?;
    let elf = kernel::unpack(&packed)?;
    let path = made.join(KERNEL);
    fs::write(&path, elf).map_err(|e| ImageError::io("cannot write", &path, e))?;

    let modules = modules::closure(&all_modules.join(&release), &modules::WANTED)?;
    let path = made.join(INITRD);
    fs::write(&path, initrd(guest, &modules)).map_err(|e| ImageError::io("cannot write", &path, e))?;
    Ok(release)
}

/// The boot contract with PID 1: `/init` is it; `/mod/order` names the modules,
/// one per line, in the order of loading; `/mod/<name>.ko` are they.
fn initrd(guest: &[u8], modules: &[modules::Module]) -> Vec<u8> {
    let mut archive = Archive::default();
    for directory in ["dev", "proc", "sys", "mnt", "mod"] {
        archive.directory(directory);
    }
    archive.character_device("dev/console", 5, 1);
    archive.character_device("dev/null", 1, 3);
    let mut order = String::new();
    for module in modules {
        archive.file(&format!("mod/{}.ko", module.name), 0o644, &module.object);
        order.push_str(&module.name);
        order.push('\n');
    }
    archive.file("mod/order", 0o644, order.as_bytes());
    archive.file("init", 0o755, guest);
    archive.finish()
}

/// An uncompressed, read-only file system: under emulation, compression costs
/// seconds at the first start of Nix, and the pages are shared anyway.
fn make_root_image(tree: &Path, image: &Path, inputs: &str) -> Result<(), ImageError> {
    // A fixed id instead of a random one, so that equal trees are equal images.
    let id = uuid::Uuid::from_bytes(
        hex::decode(&inputs[..32]).ok().and_then(|bytes| bytes.try_into().ok()).unwrap_or_default(),
    );
    let mut arguments = ["-T0", "-x-1", "--quiet"].map(std::ffi::OsString::from).to_vec();
    arguments.push(format!("-U{id}").into());
    if !rustix::process::geteuid().is_root() {
        arguments.push("--all-root".into());
    }
    arguments.extend([image.into(), tree.into()]);
    tools::run("mkfs.erofs", &arguments)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(dir: &Path) -> BuildOptions {
        fs::write(dir.join("guest"), b"\x7fELF").unwrap();
        fs::create_dir_all(dir.join("nix/lib")).unwrap();
        fs::write(dir.join("nix/default.nix"), "{}").unwrap();
        fs::write(dir.join("nix/lib/a.nix"), "1").unwrap();
        BuildOptions {
            images: dir.join("images"),
            guest: dir.join("guest"),
            evaluator: dir.join("nix"),
            force: false,
            now: Timestamp::default(),
            on_step: |_| {},
        }
    }

    #[test]
    fn inputs_are_all_that_the_image_depends_on() {
        let dir = tempfile::tempdir().unwrap();
        let options = options(dir.path());
        let hash = || Inputs::read(&options).unwrap().hash;
        let first = hash();
        assert_eq!(first, hash());
        fs::write(dir.path().join("nix/lib/a.nix"), "2").unwrap();
        let second = hash();
        assert_ne!(first, second);
        fs::write(dir.path().join("guest"), b"\x7fELF2").unwrap();
        assert_ne!(second, hash());
    }

    #[tokio::test]
    async fn what_is_missing_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let mut wrong = options(dir.path());
        wrong.guest = dir.path().join("nowhere");
        let words = build(wrong).await.unwrap_err().to_string();
        assert!(words.contains("nowhere") && words.contains("--guest"), "{words}");

        let mut wrong = options(dir.path());
        wrong.evaluator = dir.path().join("nix/lib");
        let words = build(wrong).await.unwrap_err().to_string();
        assert!(words.contains("--evaluator"), "{words}");
    }

    #[test]
    fn leftovers_of_a_killed_build_go_away() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".build-x/root")).unwrap();
        fs::create_dir(dir.path().join("abc")).unwrap();
        remove_leftovers(dir.path()).unwrap();
        assert!(!dir.path().join(".build-x").exists() && dir.path().join("abc").exists());
    }
}
