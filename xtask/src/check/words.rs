//! What must not be in a committed file.

use std::fs;

use anyhow::{Result, bail};

use crate::layout::Layout;

pub(super) fn check(layout: &Layout) -> Result<()> {
    let mut found = Vec::new();
    for file in layout.files()? {
        // Test data may be anything, an image too.
        if file.starts_with("e2e/fixtures/") || file.contains("/tests/nix/") {
            continue;
        }
        let Ok(text) = fs::read_to_string(layout.root.join(&file)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if let Some(why) = complaint(&file, line) {
                found.push(format!("{file}:{}: {why}", number + 1));
            }
        }
    }
    if !found.is_empty() {
        bail!("{}", found.join("\n"));
    }
    Ok(())
}

fn complaint(file: &str, line: &str) -> Option<&'static str> {
    if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
        return Some("a conflict marker");
    }
    if file.ends_with("package-lock.json") {
        return line
            .contains("\"resolved\":")
            .then_some("an address in a lock file, which ties it to one registry; make it again without");
    }
    // Written apart, so that this line is not one of them.
    let is_source = [".rs", ".nix", ".ts", ".css", ".sql"].iter().any(|extension| file.ends_with(extension));
    let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME")];
    if is_source
        && unfinished.iter().any(|word| line.split(|c: char| !c.is_alphanumeric()).any(|w| w == *word))
    {
        return Some("unfinished: finish it, or file an issue and say here what is so, not what should be");
    }
    None
}
