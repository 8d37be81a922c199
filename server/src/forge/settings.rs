//! What a project's settings say about refs.

use devenv_cloud_api::{orgs::ProjectSettings, problem::FieldError};

/// Whether `text` matches the glob `pattern`: `*` is any text (also with `/`),
/// `?` any one character; everything else is itself.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    // The usual walk with one place to come back to: linear for people's
    // patterns, and never worse than quadratic.
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                back = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, from)) = back else { return false };
                back = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

/// Whether a push to this ref makes a run.
pub(super) fn triggers(settings: &ProjectSettings, git_ref: &str) -> bool {
    let any = |patterns: &[String], name: &str| patterns.iter().any(|pattern| glob(pattern, name));
    if let Some(branch) = git_ref.strip_prefix("refs/heads/") {
        any(&settings.trigger_branches, branch)
    } else if let Some(tag) = git_ref.strip_prefix("refs/tags/") {
        any(&settings.trigger_tags, tag)
    } else {
        false
    }
}

/// Whether a ref accepts neither force pushes nor deletion.
pub(super) fn is_protected(settings: &ProjectSettings, git_ref: &str) -> bool {
    settings.protected_refs.iter().any(|pattern| glob(pattern, git_ref))
}

/// Whether git accepts this as the name of a branch (`git check-ref-format --branch`).
fn is_branch_name(name: &str) -> bool {
    let bad = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    !name.is_empty()
        && name.len() <= 200
        && name != "@"
        && !name.starts_with('-')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && !name.contains(bad)
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
}

/// What is wrong with settings about refs and limits; nothing when they are good.
#[must_use]
pub fn invalid_settings(settings: &ProjectSettings) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut refuse = |field: &str, message: String| {
        errors.push(FieldError { field: field.to_owned(), message });
    };
    if !is_branch_name(&settings.default_branch) {
        let name = &settings.default_branch;
        refuse("default_branch", format!("`{name}` cannot be the name of a branch"));
    }
    for (field, patterns) in [
        ("trigger_branches", &settings.trigger_branches),
        ("trigger_tags", &settings.trigger_tags),
        ("protected_refs", &settings.protected_refs),
    ] {
        if patterns.len() > 100 {
            refuse(field, "at most 100 patterns".to_owned());
        }
        if patterns.iter().any(|pattern| pattern.is_empty() || pattern.len() > 200) {
            refuse(field, "a pattern has 1 to 200 characters".to_owned());
        }
        let short = patterns.iter().find(|p| !p.starts_with("refs/") && !p.starts_with('*'));
        if let Some(short) = short.filter(|_| field == "protected_refs") {
            refuse(field, format!("a protected ref is a full name; did you mean `refs/heads/{short}`?"));
        }
    }
    for (field, value, least, most) in [
        ("timeout_minutes", settings.timeout_minutes, 1, 1440),
        ("memory_mib", settings.memory_mib, 256, 65_536),
        ("cpus", settings.cpus, 1, 64),
        ("disk_mib", settings.disk_mib, 256, 1_048_576),
    ] {
        if value < least || value > most {
            refuse(field, format!("it is between {least} and {most}"));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_slashes_too() {
        for (pattern, text, matches) in [
            ("*", "feature/deep/x", true),
            ("main", "main", true),
            ("main", "main2", false),
            ("release/*", "release/1.0/x", true),
            ("release/*", "release", false),
            ("v?.*", "v1.2", true),
            ("v?.*", "v12", false),
            ("*-rc*", "1.0-rc1", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("", "", true),
            ("", "a", false),
            ("refs/heads/ü?", "refs/heads/üß", true),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let pattern = "a*".repeat(100);
        assert!(!glob(&format!("{pattern}c"), &"a".repeat(10_000)));
    }

    #[test]
    fn settings_are_checked_field_by_field() {
        assert!(invalid_settings(&ProjectSettings::default()).is_empty());
        let settings = ProjectSettings {
            default_branch: "a..b".to_owned(),
            protected_refs: vec!["main".to_owned()],
            memory_mib: 1,
            ..ProjectSettings::default()
        };
        let fields: Vec<_> = invalid_settings(&settings).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["default_branch", "protected_refs", "memory_mib"]);
    }

    #[test]
    fn only_branches_and_tags_that_the_settings_name_make_runs() {
        let settings = ProjectSettings {
            trigger_branches: vec!["main".to_owned(), "release/*".to_owned()],
            trigger_tags: vec!["v*".to_owned()],
            ..ProjectSettings::default()
        };
        for (name, makes_a_run) in [
            ("refs/heads/main", true),
            ("refs/heads/release/1/2", true),
            ("refs/heads/other", false),
            ("refs/tags/v1", true),
            ("refs/tags/main", false),
            ("refs/notes/commits", false),
        ] {
            assert_eq!(triggers(&settings, name), makes_a_run, "{name}");
        }
    }
}
