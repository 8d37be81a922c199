//! Gathers what the browser gets and what machines are made of, so that the
//! binary holds it all.
//!
//! The style sheets are put together here, always. The script, the
//! WebAssembly module and compressed forms of all are built beforehand (`cargo xtask` does it) and named by
//! `DEVENV_CLOUD_ASSETS`: a directory with `manifest.json`, which maps names to
//! content-hashed files (`{"app.js": "app.1f2e….js", "app.wasm": …}`), and those
//! files with their `.br` and `.gz` forms. Without it the pages work as they do
//! where there is no script.
//!
//! Machines get the built-in evaluator (`guest/nix/`) and PID 1, a static program
//! that is built beforehand as well and named by `DEVENV_CLOUD_GUEST_PROGRAM`.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Anything that goes wrong ends the build with its sentence.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let style_dir = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../style");
    println!("cargo::rerun-if-changed={}", style_dir.display());
    println!("cargo::rerun-if-env-changed=DEVENV_CLOUD_ASSETS");

    // Name in the pages → file to embed.
    let mut table: BTreeMap<String, (String, PathBuf)> = BTreeMap::new();
    let mut add =
        |name: &str, file_name: String, file: PathBuf| table.insert(name.to_owned(), (file_name, file));

    let style = style_sheet(&style_dir)?;
    let file = out.join("app.css");
    fs::write(&file, &style)?;
    add("app.css", format!("app.{}.css", digest(style.as_bytes())), file);
    let icon_file = style_dir.join("../frontend/public/icon.svg");
    println!("cargo::rerun-if-changed={}", icon_file.display());
    let icon = fs::read(&icon_file)?;
    add("icon.svg", format!("icon.{}.svg", digest(&icon)), fs::canonicalize(&icon_file)?);

    if let Some(dir) = env::var_os("DEVENV_CLOUD_ASSETS").filter(|dir| !dir.is_empty()) {
        let dir = PathBuf::from(dir);
        let manifest = dir.join("manifest.json");
        println!("cargo::rerun-if-changed={}", manifest.display());
        let names: BTreeMap<String, String> = match fs::read_to_string(&manifest) {
            Ok(text) => serde_json::from_str(&text)?,
            // A check or a test of something else need not wait for the browser's part.
            Err(e) if env::var("PROFILE")? == "debug" => {
                println!(
                    "cargo::warning=pages come without a script: cannot read {} ({e})",
                    manifest.display()
                );
                BTreeMap::new()
            }
            Err(e) => {
                let place = manifest.display();
                return Err(format!("cannot read {place} ({e}); run `cargo xtask build pages` first").into());
            }
        };
        for (name, file_name) in names {
            let file = fs::canonicalize(dir.join(&file_name))?;
            add(&name, file_name, file);
        }
    }

    let mut code = String::from("static EMBEDDED: &[Embedded] = &[\n");
    for (name, (file_name, file)) in &table {
        let variant = |ending: &str| {
            let packed = PathBuf::from(format!("{}.{ending}", file.display()));
            if packed.exists() {
                format!("Some(include_bytes!({:?}))", packed.display().to_string())
            } else {
                "None".to_owned()
            }
        };
        writeln!(
            code,
            "    Embedded {{ name: {name:?}, file: {file_name:?}, plain: include_bytes!({:?}), brotli: {}, gzip: {} }},",
            file.display().to_string(),
            variant("br"),
            variant("gz"),
        )?;
    }
    code.push_str("];\n");
    fs::write(out.join("assets.rs"), code)?;
    machine_parts(&out)
}

/// What `devenv-cloud image build` puts into an image.
fn machine_parts(out: &Path) -> Outcome<()> {
    let evaluator = fs::canonicalize(Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../guest/nix"))?;
    println!("cargo::rerun-if-changed={}", evaluator.display());
    println!("cargo::rerun-if-env-changed=DEVENV_CLOUD_GUEST_PROGRAM");
    let mut code = String::from("static EVALUATOR: &[(&str, &[u8])] = &[\n");
    let mut files = Vec::new();
    collect(&evaluator, &mut files)?;
    files.sort();
    for file in files {
        let name = file.strip_prefix(&evaluator)?.display().to_string();
        writeln!(code, "    ({name:?}, include_bytes!({:?})),", file.display().to_string())?;
    }
    code.push_str("];\n");
    let program =
        env::var_os("DEVENV_CLOUD_GUEST_PROGRAM").filter(|file| !file.is_empty()).map(PathBuf::from);
    let program = match program {
        None => None,
        Some(file) => {
            println!("cargo::rerun-if-changed={}", file.display());
            // A check or a test of something else need not wait for it.
            if !file.exists() && env::var("PROFILE")? != "debug" {
                return Err(
                    format!("{} is missing; run `cargo xtask build guest` first", file.display()).into()
                );
            }
            file.exists().then_some(file)
        }
    };
    let program = program.map_or_else(
        || "None".to_owned(),
        |file| format!("Some(include_bytes!({:?}))", file.display().to_string()),
    );
    writeln!(code, "static PROGRAM: Option<&[u8]> = {program};")?;
    fs::write(out.join("machine_parts.rs"), code)?;
    Ok(())
}

/// All files below a directory.
fn collect(directory: &Path, into: &mut Vec<PathBuf>) -> Outcome<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { collect(&path, into)? } else { into.push(path) }
    }
    Ok(())
}

/// All style sheets as one: the tokens first, the base next, then the components by name.
fn style_sheet(dir: &Path) -> Outcome<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "css"))
        .collect();
    files.sort_by_key(|path| {
        let name = path.file_stem().unwrap_or_default().to_owned();
        (name != "tokens", name != "base", name)
    });
    let mut style = String::new();
    for file in files {
        style.push_str(&fs::read_to_string(&file)?);
    }
    Ok(style)
}

/// A name for content (FNV-1a): it has to differ when the content does, and that is all.
fn digest(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
