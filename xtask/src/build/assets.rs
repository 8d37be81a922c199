//! What the browser downloads: WebAssembly with its bindings, the style sheet,
//! and the plain files of `frontend/public/`.
//!
//! Every file gets a name with the hash of its content, so that browsers may
//! keep it for ever, and is compressed here, once, as small as it goes.
//! `manifest.json` maps `app.css` to `app.<hash>.css`.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

use super::FRONTEND;
use crate::{
    layout::Layout,
    setup::{node, wasm},
    shell::{self, say},
};

/// Raised when what is done here changes, so that old results are made again.
const RECIPE: &[u8] = b"3";

/// Compiles and writes the directory that the server embeds; leaves it alone
/// when nothing that goes in has changed.
pub(super) fn build(layout: &Layout) -> Result<()> {
    let compiled = compile(layout)?;
    let style = style_sheet(&layout.root.join("style"))?;
    let public = public_files(&layout.root.join("frontend/public"))?;

    let module = fs::read(&compiled).with_context(|| format!("cannot read {}", compiled.display()))?;
    let mut inputs = Sha256::new();
    for part in [RECIPE, &module, style.as_bytes()] {
        inputs.update(part.len().to_le_bytes());
        inputs.update(part);
    }
    for (name, content) in &public {
        inputs.update(name);
        inputs.update(content.len().to_le_bytes());
        inputs.update(content);
    }
    let inputs = hex::encode(inputs.finalize());
    let directory = layout.assets();
    let stamp = directory.join(".inputs");
    if fs::read_to_string(&stamp).is_ok_and(|last| last == inputs) {
        return Ok(());
    }

    let (glue, module) = bind(layout, &compiled)?;
    let mut files = public;
    files.insert("app.js".to_owned(), glue);
    files.insert("app.wasm".to_owned(), module);
    files.insert("app.css".to_owned(), style.into_bytes());

    // Written beside and then renamed: a killed build leaves the old files or the new.
    let fresh = directory.with_extension("new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&fresh)?;
    let mut manifest = BTreeMap::new();
    for (name, content) in &files {
        let hashed = hashed_name(name, content);
        let sizes = write_compressed(&fresh, &hashed, content)?;
        say(&format!("  {name}: {} KiB, brotli {} KiB", content.len().div_ceil(1024), sizes.div_ceil(1024)));
        manifest.insert(name, hashed);
    }
    fs::write(fresh.join("manifest.json"), serde_json::to_vec_pretty(&manifest)?)?;
    fs::write(fresh.join(".inputs"), inputs)?;
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::rename(&fresh, &directory).with_context(|| format!("cannot move {} into place", directory.display()))
}

fn compile(layout: &Layout) -> Result<PathBuf> {
    let compiler = wasm::ensure()?;
    let (mut cargo, target) = wasm::cargo(layout, compiler, "build")?;
    shell::run(cargo.args([
        "--quiet",
        "--package",
        FRONTEND,
        "--lib",
        "--profile",
        "wasm",
        "--no-default-features",
        "--features",
        "hydrate",
    ]))?;
    Ok(target.join("wasm").join(FRONTEND.replace('-', "_")).with_extension("wasm"))
}

/// The bindings' glue and the optimised module.
fn bind(layout: &Layout, compiled: &Path) -> Result<(Vec<u8>, Vec<u8>)> {
    let work = tempfile::tempdir_in(&layout.target)?;
    Bindgen::new()
        .input_path(compiled)
        .out_name("app")
        .web(true)?
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(work.path())
        .context("wasm-bindgen cannot read the compiled pages")?;
    if work.path().join("snippets").exists() {
        bail!(
            "a dependency of the pages brings JavaScript snippets; they would need names and a policy of their own"
        );
    }
    let raw = work.path().join("app_bg.wasm");
    let optimised = work.path().join("app_opt.wasm");
    shell::quietly(
        node::wasm_opt(layout)?
            .arg("-Oz")
            .args([
                "--enable-bulk-memory",
                "--enable-mutable-globals",
                "--enable-multivalue",
                "--enable-nontrapping-float-to-int",
                "--enable-reference-types",
                "--enable-sign-ext",
                "--output",
            ])
            .args([&optimised, &raw]),
    )?;
    let glue = fs::read_to_string(work.path().join("app.js"))?;
    Ok((glue.into_bytes(), fs::read(optimised)?))
}

/// `tokens.css`, `base.css`, then every other file in the order of their paths.
fn style_sheet(directory: &Path) -> Result<String> {
    let mut files = Vec::new();
    collect(directory, &mut files)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "css"));
    let rank = |file: &PathBuf| match file.file_name().and_then(|name| name.to_str()) {
        Some("tokens.css") => 0,
        Some("base.css") => 1,
        _ => 2,
    };
    files.sort_by_key(|file| (rank(file), file.clone()));
    let mut sheet = String::new();
    for file in files {
        sheet
            .push_str(&fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?);
        sheet.push('\n');
    }
    Ok(sheet)
}

fn public_files(directory: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(files);
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.insert(name, fs::read(&path)?);
        }
    }
    Ok(files)
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() { collect(&path, into)? } else { into.push(path) }
    }
    Ok(())
}

/// `app.css` → `app.0123456789abcdef.css`.
fn hashed_name(name: &str, content: &[u8]) -> String {
    let hash = hex::encode(&Sha256::digest(content)[..8]);
    match name.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem}.{hash}.{extension}"),
        None => format!("{name}.{hash}"),
    }
}

/// Writes the file, and its compressed forms where they are smaller; gives brotli's size.
fn write_compressed(directory: &Path, name: &str, content: &[u8]) -> Result<usize> {
    fs::write(directory.join(name), content)?;

    let mut brotli = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    brotli::BrotliCompress(&mut &*content, &mut brotli, &parameters)?;

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(content)?;
    let gzip = gzip.finish()?;

    for (extension, compressed) in [("br", &brotli), ("gz", &gzip)] {
        if compressed.len() < content.len() {
            fs::write(directory.join(format!("{name}.{extension}")), compressed)?;
        }
    }
    Ok(brotli.len())
}

#[cfg(test)]
mod tests {
    use super::hashed_name;

    #[test]
    fn the_hash_stands_before_the_extension_and_follows_the_content() {
        let name = hashed_name("app.css", b"a");
        assert!(name.starts_with("app.") && name.ends_with(".css") && name.len() == "app..css".len() + 16);
        assert_ne!(name, hashed_name("app.css", b"b"));
    }
}
