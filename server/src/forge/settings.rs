//! What a project's settings say about refs.

use devenv_cloud_api::orgs::ProjectSettings;

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
