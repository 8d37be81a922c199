# git-hooks (and its older name pre-commit): hooks are reported, and run by the
# guest, if the project says what they execute. The ready-made hooks of the
# git-hooks project come with packages of nixpkgs, which are not there.
{ lib, options, ... }:
let
  inherit (lib) mkOption types;
  opt = type: default: mkOption { inherit type default; };
  text = opt types.str "";
  strings = opt (types.listOf types.str) [ ];
  hook = { name, ... }: {
    freeformType = types.attrsOf types.anything;
    options = {
      enable = opt types.bool false;
      name = opt types.str name;
      description = text;
      entry = opt (types.nullOr types.str) null;
      args = strings;
      language = opt types.str "system";
      files = text;
      types = opt (types.listOf types.str) [ "file" ];
      types_or = strings;
      excludes = strings;
      exclude_types = strings;
      pass_filenames = opt types.bool true;
      always_run = opt types.bool false;
      require_serial = opt types.bool false;
      stages = opt (types.listOf types.str) [ "pre-commit" ];
      package = opt (types.nullOr types.package) null;
    };
  };
  # A ref may be given as devenv's documentation does, `cloud.ci.github.ref`,
  # which is a set here: its full name is meant.
  ref = opt (types.nullOr (types.coercedTo (types.attrsOf types.anything) (r: r.full or r.name or "") types.str)) null;
  hooks = {
    freeformType = types.attrsOf types.anything;
    options = {
      enable = opt types.bool true;
      hooks = opt (types.attrsOf (types.submodule hook)) { };
      excludes = strings;
      fromRef = ref;
      toRef = ref;
    };
  };
in
{
  options.git-hooks = opt (types.submodule hooks) { };
  options.pre-commit = opt types.raw { };
  config.git-hooks = lib.mkMerge
    (map (d: { _type = "place"; inherit (d) file pos; content = d.value; }) options.pre-commit.rawDefs);
}
