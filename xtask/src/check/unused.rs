//! Dependencies that a crate names and never uses.
//!
//! Exact enough without compiling: a crate that is used is written somewhere in
//! the sources as `name::`, `use name` or `name!`. One that is needed only for
//! a feature it turns on is listed in `[package.metadata.unused] ignore`.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{layout::Layout, shell};

pub(super) fn check(layout: &Layout) -> Result<()> {
    let metadata =
        shell::output(layout.cargo("metadata").args(["--format-version", "1", "--no-deps", "--offline"]))
            .or_else(|_| {
                shell::output(layout.cargo("metadata").args(["--format-version", "1", "--no-deps"]))
            })?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let mut unused = Vec::new();
    for package in metadata["packages"].as_array().context("cargo metadata names no packages")? {
        let manifest = Path::new(package["manifest_path"].as_str().context("a package without a manifest")?);
        let directory = manifest.parent().context("a manifest without a directory")?;
        let mut sources = String::new();
        for part in ["src", "tests", "benches", "examples"] {
            read_sources(&directory.join(part), &mut sources)?;
        }
        if let Ok(build_script) = fs::read_to_string(directory.join("build.rs")) {
            sources.push_str(&build_script);
        }
        let ignored: Vec<&str> = package["metadata"]["unused"]["ignore"]
            .as_array()
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let name = dependency["rename"].as_str().or(dependency["name"].as_str()).unwrap_or_default();
            if !ignored.contains(&name) && !is_used(&sources, &name.replace('-', "_")) {
                unused.push(format!("{}: {name}", package["name"].as_str().unwrap_or_default()));
            }
        }
    }
    if !unused.is_empty() {
        bail!("named in Cargo.toml and not used:\n  {}", unused.join("\n  "));
    }
    Ok(())
}

/// All Rust sources below a directory, without their comment lines.
fn read_sources(directory: &Path, into: &mut String) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            read_sources(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                into.push_str(line);
                into.push('\n');
            }
        }
    }
    Ok(())
}

/// Whether the crate's name occurs as a word that is used as a path, an import or a macro.
fn is_used(sources: &str, name: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    sources.match_indices(name).any(|(at, _)| {
        let (before, after) = (&sources[..at], &sources[at + name.len()..]);
        if before.ends_with(is_word) || after.starts_with(is_word) {
            return false;
        }
        let before = before.trim_end();
        after.starts_with("::")
            || after.starts_with('!')
            || before.ends_with("use")
            || before.ends_with("extern crate")
            // `use {a, b}` and `#[a::b]` aside, a crate alone in a path list.
            || (before.ends_with(['{', ',']) && after.starts_with([',', '}', ' ']))
    })
}

#[cfg(test)]
mod tests {
    use super::is_used;

    #[test]
    fn a_path_an_import_and_a_macro_are_uses() {
        assert!(is_used("let x = base64::encode(y);", "base64"));
        assert!(is_used("use http;", "http"));
        assert!(is_used("anyhow!(\"no\")", "anyhow"));
    }

    #[test]
    fn a_part_of_a_word_and_a_plain_variable_are_not() {
        assert!(!is_used("let x = my_http::get();", "http"));
        assert!(!is_used("http_body::Body", "http"));
        assert!(!is_used("let time = 3;", "time"));
    }
}
