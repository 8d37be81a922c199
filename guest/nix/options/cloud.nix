# `config.cloud`: what a project may know about the run it is in, and what it
# may ask of the machine. `cloud.ci.github` has the names that devenv's own
# documentation uses; `cloud.ci` has the same ones for every forge, and
# `cloud.ci.github` falls back to them.
{ context }:
{ lib, ... }:
let
  inherit (lib) mkOption types recursiveUpdate;
  opt = type: default: mkOption { inherit type default; };
  given = context.cloud or { };

  common = {
    actor = "";
    base_ref = "";
    branch = "";
    changed_files = [ ];
    default_branch = "";
    event.name = "";
    head_ref = "";
    inputs = { };
    job.id = "";
    pull_request = {
      draft = false;
      fork = false;
      labels = [ ];
      number = null;
      title = "";
      url = "";
    };
    ref = { full = ""; name = ""; };
    repository = "";
    run = { attempt = null; id = ""; number = null; url = ""; };
    sha = "";
    tag = "";
  };
  # null means "not known" to the server; a name that is text stays text.
  withoutNulls = lib.filterAttrsRecursive (_: v: v != null);
  ci = withoutNulls (given.ci or { });
  neutral = recursiveUpdate common (removeAttrs ci [ "github" "provider" ]);
  values = neutral // {
    provider = ci.provider or "";
    github = recursiveUpdate ({ enabled = false; } // removeAttrs neutral [ "enabled" ]) (ci.github or { });
  };
in
{
  options.cloud = {
    enable = opt types.bool (given.enable or true);
    # What the run says wins over what a file says.
    ci = mkOption {
      type = types.attrsOf types.anything;
      default = { };
      apply = set: recursiveUpdate set values;
    };
    memory = opt (types.nullOr (types.strMatching "[0-9]+ *([mMgG][iI]?[bB]?)")) null;
    cpus = opt (types.nullOr types.ints.positive) null;
    platforms = opt (types.nullOr (types.listOf (types.either types.str (types.attrsOf types.anything)))) null;
  };
  config.cloud = {
    enable = lib.mkIf (given ? enable) (lib.mkForce given.enable);
  };
}
