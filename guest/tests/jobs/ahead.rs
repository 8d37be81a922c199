//! Programs that were started before there was a job.

use std::{fs, process::Command};

use devenv_cloud_guest::{ahead::Ahead, protocol::Record};

use crate::host::{Ground, Trace, commit};

const WORKS: &str = "{\n  tasks.\"app:build\".exec = \"echo built\";\n}\n";

/// A folder in which they wait for a job.
fn ground() -> Ground {
    let mut ground = Ground::new();
    fs::create_dir_all(&ground.world.source).unwrap();
    ground.world.ahead = Some(Ahead::start(&ground.world).unwrap());
    ground
}

fn job(ground: &Ground, devenv_nix: &str) -> Trace {
    ground
        .begin(&commit(&[("devenv.nix", devenv_nix), ("broken.nix", "{\n  tasks = ;\n}\n")]), |_| {})
        .finish()
}

/// The processes that wait: those that have the folder open as theirs.
fn waiting(ground: &Ground) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
    ids.filter(|id: &i32| {
        fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|cwd| cwd == ground.world.source)
    })
    .collect()
}

#[test]
fn they_do_the_job_and_are_gone() {
    let ground = ground();
    assert_eq!(waiting(&ground).len(), 3);
    let trace = job(&ground, WORKS).succeeded();
    assert!(trace.find("app:build").is_some());
    assert!(waiting(&ground).is_empty());
}

#[test]
fn what_it_says_is_what_a_fresh_one_says() {
    for source in [
        "{\n  tasks = ;\n}\n",
        "{\n  imports = [ ./broken.nix ];\n}\n",
        "{\n\n  enterTset = \"\";\n}\n",
        "{\n  env.A = throw \"no\";\n}\n",
        "{ pkgs, ... }: {\n  packages = [ pkgs.gti ];\n}\n",
        "{\n  tasks.\"a:b\".exec = \"exit 3\";\n}\n",
    ] {
        let (ahead, fresh) = (job(&ground(), source), job(&Ground::new(), source));
        assert_eq!(ahead.finished, fresh.finished, "{source}");
        assert_eq!(ahead.messages(), fresh.messages(), "{source}");
        let names = |trace: &Trace| -> Vec<String> {
            let name = |record: &Record| match record {
                Record::SpanOpened { name, .. } => Some(name.clone()),
                _ => None,
            };
            trace.records.iter().filter_map(name).collect()
        };
        assert_eq!(names(&ahead), names(&fresh), "{source}");
    }
}

#[test]
fn those_that_died_while_they_waited_are_no_jobs_trouble() {
    let ground = ground();
    for id in waiting(&ground) {
        Command::new("kill").args(["-9", &id.to_string()]).status().unwrap();
    }
    job(&ground, WORKS).succeeded();
}

#[test]
fn one_that_does_not_get_there_says_why() {
    let mut ground = Ground::new();
    fs::create_dir_all(&ground.world.source).unwrap();
    ground.world.evaluator = ground.path("nothing");
    let error = Ahead::start(&ground.world).unwrap_err().to_string();
    assert!(error.contains("ahead.nix"), "{error}");
}
