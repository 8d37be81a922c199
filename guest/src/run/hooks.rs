//! git-hooks: the project's checks of files, as one script. The hooks that come
//! ready-made with packages of nixpkgs are reported missing by the evaluator;
//! here are those whose command the project itself gives.

use crate::evaluate::{Configuration, Hook};

/// The script that runs all hooks, or none when there are none.
pub(crate) fn script(configuration: &Configuration) -> Option<String> {
    let hooks: Vec<String> =
        configuration.git_hooks.values().filter_map(|hook| one(hook, &files(configuration))).collect();
    (!hooks.is_empty()).then(|| format!("failed=0\n{}exit $failed\n", hooks.concat()))
}

/// The command that lists the files to check, with NUL after each.
fn files(configuration: &Configuration) -> String {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match given(&configuration.git_hooks_from) {
        // A shallow repository may not have the other commit: then all are checked.
        Some(from) => {
            let from = quoted(&from);
            let to = quoted(&given(&configuration.git_hooks_to).unwrap_or_else(|| "HEAD".to_owned()));
            format!(
                "{{ git diff --name-only -z --diff-filter=d {from} {to} 2>/dev/null || git ls-files -z; }}"
            )
        }
        None => "git ls-files -z".to_owned(),
    }
}

fn one(hook: &Hook, files: &str) -> Option<String> {
    let entry = hook.entry.as_deref().filter(|entry| !entry.trim().is_empty())?;
    let mut command = entry.to_owned();
    for argument in &hook.args {
        command.push(' ');
        command.push_str(&quoted(argument));
    }
    let mut filter = files.to_owned();
    let mut keep = |pattern: &str, options: &str| {
        filter.push_str(&format!(" | grep -z{options}P -- {}", quoted(pattern)));
    };
    if !hook.files.is_empty() {
        keep(&hook.files, "");
    }
    for pattern in hook.excludes.iter().filter(|pattern| !pattern.is_empty()) {
        keep(pattern, "v");
    }
    for pattern in hook.types.iter().filter_map(|kind| endings(kind)) {
        keep(&pattern, "");
    }
    let either: Vec<String> = hook.types_or.iter().filter_map(|kind| endings(kind)).collect();
    if !either.is_empty() {
        keep(&either.join("|"), "");
    }
    let call = if !hook.pass_filenames {
        command.clone()
    } else {
        // Not by xargs alone: the entry may be a pipeline or have quotes of its own.
        format!("bash -c {} bash \"${{files[@]}}\"", quoted(&format!("{command} \"$@\"")))
    };
    let guard = if hook.always_run { "true" } else { "[ ${#files[@]} -gt 0 ]" };
    let name = quoted(&hook.name);
    Some(format!(
        "mapfile -d '' files < <({filter})\n\
         if {guard}; then\n\
         if {call}; then echo {name}: passed; else echo {name}: failed with exit status $?; failed=1; fi\n\
         else echo {name}: no files; fi\n"
    ))
}

/// A pattern for the file names of a kind, for the kinds that names tell.
fn endings(kind: &str) -> Option<String> {
    let endings = match kind {
        "bash" => "sh|bash",
        "c" => "c|h",
        "c++" => "cc|cpp|cxx|hpp|hh",
        "css" => "css",
        "go" => "go",
        "haskell" => "hs|lhs",
        "html" => "html?",
        "java" => "java",
        "javascript" => "js|mjs|cjs",
        "json" => "json",
        "markdown" => "md|markdown",
        "nix" => "nix",
        "python" => "py|pyi",
        "ruby" => "rb",
        "rust" => "rs",
        "shell" => "sh|bash|zsh|ksh",
        "toml" => "toml",
        "ts" => "ts|mts|cts",
        "tsx" => "tsx",
        "yaml" => "ya?ml",
        _ => return None,
    };
    Some(format!("\\.({endings})$"))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_hooks_there_is_no_script() {
        assert_eq!(script(&Configuration::default()), None);
    }

    #[test]
    fn what_a_hook_says_is_quoted() {
        let hook = Hook { name: "it's".to_owned(), entry: Some("check".to_owned()), ..Hook::default() };
        let mut configuration = Configuration::default();
        configuration.git_hooks.insert("a".to_owned(), hook);
        assert!(script(&configuration).unwrap().contains(r"'it'\''s'"));
    }
}
