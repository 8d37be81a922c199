//! The project that is pushed: twenty files, of which Nix reads every one.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// Modules beside `devenv.nix` and the example.
const MODULES: usize = 18;

/// Writes it into a directory: the example, and modules that add to it.
pub(super) fn write(example: &Path, into: &Path) -> Result<()> {
    let modules = into.join("modules");
    fs::create_dir_all(&modules).with_context(|| format!("cannot create {}", modules.display()))?;
    fs::copy(example.join("devenv.nix"), into.join("hello.nix"))
        .with_context(|| format!("cannot copy {}", example.display()))?;
    let mut imports = String::from("./hello.nix");
    for number in 1..=MODULES {
        let name = format!("part-{number:02}.nix");
        fs::write(modules.join(&name), format!("{{ env.PART_{number} = \"{number}\"; }}\n"))?;
        imports.push_str(&format!(" ./modules/{name}"));
    }
    fs::write(into.join("devenv.nix"), format!("{{ imports = [ {imports} ]; }}\n"))?;
    Ok(())
}
