//! What a project's settings may be.

use devenv_cloud_api::{
    orgs::{NetworkPolicy, ProjectSettings},
    runners::check_label,
};

use crate::{executor::egress::Pattern, refusal::Fields};

/// How many patterns a list may have.
const PATTERNS: usize = 50;
/// How many hosts an allow-list may have.
const HOSTS: usize = 200;

/// Refuses what makes no sense, field by field.
pub fn check(settings: &ProjectSettings, fields: &mut Fields) {
    let ProjectSettings {
        default_branch,
        trigger_branches,
        trigger_tags,
        protected_refs,
        cancel_superseded: _,
        timeout_minutes,
        memory_mib,
        cpus,
        disk_mib,
        runner_label,
        network,
        network_hosts,
    } = settings;
    if !runner_label.is_empty() {
        fields.check("settings.runner_label", check_label(runner_label));
    }
    fields.check("settings.default_branch", branch(default_branch));
    for (field, patterns) in [
        ("settings.trigger_branches", trigger_branches),
        ("settings.trigger_tags", trigger_tags),
        ("settings.protected_refs", protected_refs),
    ] {
        if patterns.len() > PATTERNS {
            fields.refuse(field, format!("at most {PATTERNS} patterns"));
        } else if let Some(why) = patterns.iter().find_map(|pattern| glob(pattern).err()) {
            fields.refuse(field, why);
        }
    }
    if network_hosts.len() > HOSTS {
        fields.refuse("settings.network_hosts", format!("at most {HOSTS} hosts"));
    } else if let Some(why) = network_hosts.iter().find_map(|host| Pattern::parse(host).err()) {
        fields.refuse("settings.network_hosts", why);
    } else if *network == NetworkPolicy::AllowList && network_hosts.is_empty() {
        fields
            .refuse("settings.network_hosts", "name the hosts that jobs may reach, or choose another policy");
    }
    for pattern in protected_refs {
        if !pattern.starts_with("refs/") && !pattern.starts_with('*') {
            fields.refuse(
                "settings.protected_refs",
                format!("`{pattern}` is no full name of a ref; write refs/heads/{pattern} for a branch"),
            );
            break;
        }
    }
    for (field, value, range) in [
        ("settings.timeout_minutes", timeout_minutes, 1..=1440),
        ("settings.memory_mib", memory_mib, 256..=65_536),
        ("settings.cpus", cpus, 1..=64),
        ("settings.disk_mib", disk_mib, 256..=1_048_576),
    ] {
        if !range.contains(value) {
            fields.refuse(field, format!("a number from {} to {}", range.start(), range.end()));
        }
    }
}

/// Whether git would take it as the name of a branch (`git check-ref-format`).
fn branch(name: &str) -> Result<(), String> {
    let components_fine = name.split('/').all(|part| {
        !part.is_empty() && !part.starts_with('.') && !part.ends_with('.') && !part.ends_with(".lock")
    });
    let characters_fine =
        !name.chars().any(|c| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\'));
    if components_fine
        && characters_fine
        && name.len() <= 200
        && !name.starts_with('-')
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
    {
        Ok(())
    } else {
        Err(format!("`{name}` cannot be the name of a branch"))
    }
}

/// A pattern is a name in which `*` stands for anything.
fn glob(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() {
        return Err("a pattern cannot be empty".to_owned());
    }
    if pattern.len() > 200 {
        return Err("a pattern has at most 200 characters".to_owned());
    }
    // `?` and `[` are no wildcards here, and no branch has them in its name.
    let wrong = |c: &char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '[' | '\\');
    match pattern.chars().find(wrong) {
        Some(c) => Err(format!(
            "`{pattern}`: {c:?} is in no name of a branch or tag; the only wildcard is *, which stands for anything"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Refusal;

    fn refused(settings: &ProjectSettings) -> Vec<String> {
        let mut fields = Fields::default();
        check(settings, &mut fields);
        match fields.done() {
            Ok(()) => Vec::new(),
            Err(Refusal::Fields(errors)) => errors.into_iter().map(|e| e.field).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_defaults_are_accepted() {
        assert_eq!(refused(&ProjectSettings::default()), Vec::<String>::new());
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let settings = ProjectSettings {
            default_branch: "a b".to_owned(),
            trigger_branches: vec!["release-[0-9]".to_owned()],
            trigger_tags: vec![String::new()],
            protected_refs: vec!["main".to_owned()],
            timeout_minutes: 0,
            memory_mib: 255,
            cpus: 65,
            disk_mib: u32::MAX,
            runner_label: "a,b".to_owned(),
            network_hosts: vec!["https://example.org/".to_owned()],
            ..ProjectSettings::default()
        };
        assert_eq!(refused(&settings).len(), 10, "{:?}", refused(&settings));
    }

    #[test]
    fn an_allow_list_has_hosts() {
        let mut settings =
            ProjectSettings { network: NetworkPolicy::AllowList, ..ProjectSettings::default() };
        assert_eq!(refused(&settings), ["settings.network_hosts"]);
        settings.network_hosts = vec!["cache.nixos.org".to_owned(), "*.example.org:8443".to_owned()];
        assert_eq!(refused(&settings), Vec::<String>::new());
        settings.network_hosts = vec!["a.org".to_owned(); 201];
        assert_eq!(refused(&settings), ["settings.network_hosts"]);
    }

    #[test]
    fn branch_names_are_as_git_wants_them() {
        for good in ["main", "feature/x-1", "ünïcode", "a.b", "release/1.0"] {
            assert_eq!(branch(good), Ok(()), "{good}");
        }
        for bad in [
            "", "-x", "/a", "a/", "a//b", ".a", "a/.b", "a.", "a..b", "a.lock", "a b", "a~1", "@", "a@{1}",
            "a*",
        ] {
            assert!(branch(bad).is_err(), "{bad}");
        }
    }
}
