# As devenv's own documentation writes it.
{ lib, config, ... }:
let
  github = config.cloud.ci.github;
in
{
  env = {
    BRANCH = github.branch;
    NEUTRAL = config.cloud.ci.branch;
    ACTOR = github.actor;
    EVENT = github.event.name;
    JOB = github.job.id;
    PR = config.cloud.ci.pull_request.number;
    PR_TITLE = config.cloud.ci.pull_request.title;
    RUN = config.cloud.ci.run.number;
    NEW = config.cloud.ci.something_new;
    GITHUB = github.enabled;
  };
  git-hooks = {
    fromRef = github.base_ref or null;
    toRef = github.ref or null;
  };
  tasks = lib.mkIf config.cloud.enable {
    "ci:deploy" = lib.mkIf (github.branch == "main") { exec = "deploy"; };
    "ci:preview" = lib.mkIf (github.branch != "main") { exec = "preview"; };
  };
  cloud.memory = "8gb";
}
