//! What an image is made of besides Debian's packages: PID 1 and the built-in
//! evaluator. They are in this binary, so that it needs no other file.

use std::{fs, io, path::PathBuf};

include!(concat!(env!("OUT_DIR"), "/machine_parts.rs"));

/// Both in a directory that goes away.
pub(super) struct Unpacked(tempfile::TempDir);

impl Unpacked {
    /// PID 1. It is not there when this binary was built without it.
    pub(super) fn program(&self) -> PathBuf {
        self.0.path().join("devenv-cloud-guest")
    }

    /// The evaluator's directory.
    pub(super) fn evaluator(&self) -> PathBuf {
        self.0.path().join("nix")
    }
}

/// Writes both down.
pub(super) fn unpack() -> io::Result<Unpacked> {
    let unpacked = Unpacked(tempfile::tempdir()?);
    if let Some(program) = PROGRAM {
        fs::write(unpacked.program(), program)?;
    }
    for (name, content) in EVALUATOR {
        let file = unpacked.evaluator().join(name);
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(file, content)?;
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_evaluator_comes_out_as_it_went_in() {
        let unpacked = unpack().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest/nix");
        for name in ["default.nix", "pkgs/names.nix"] {
            let (ours, theirs) = (unpacked.evaluator().join(name), source.join(name));
            assert_eq!(fs::read(ours).unwrap(), fs::read(theirs).unwrap(), "{name}");
        }
    }
}
