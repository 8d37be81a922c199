# tasks, scripts and processes: everything that runs.
{ lib, config, pkgs, ... }:
let
  inherit (lib) mkOption types;
  opt = type: default: mkOption { inherit type default; };
  text = types.nullOr types.str;
  strings = types.listOf types.str;
  # What a variable may be given as; the report turns it into a string.
  envType = types.attrsOf types.anything;

  # Only bash runs without more; another interpreter is a package like any other.
  interpreter = {
    binary = opt text null;
    package = opt types.package pkgs.bash;
  };

  task = { name, ... }: {
    options = {
      type = opt (types.enum [ "oneshot" "process" ]) "oneshot";
      exec = opt text null;
      status = opt text null;
      execIfModified = opt strings [ ];
      before = opt strings [ ];
      after = opt strings [ ];
      cwd = opt text null;
      env = opt envType { };
      exports = opt strings [ ];
      description = opt types.str "";
      input = opt (types.attrsOf types.anything) { };
      showOutput = opt types.bool false;
      process = opt (types.attrsOf types.anything) { };
    } // interpreter;
  };

  script = {
    options = {
      exec = mkOption { type = types.coercedTo types.path toString types.str; };
      description = opt types.str "";
      packages = opt (types.listOf types.package) [ ];
    } // interpreter;
  };

  process = {
    # Probes, restarts, ports and the like are for a process manager.
    freeformType = types.attrsOf types.anything;
    options = {
      exec = mkOption { type = types.str; };
      cwd = opt text null;
      env = opt envType { };
      after = opt strings [ ];
      before = opt strings [ ];
    };
  };
in
{
  options = {
    tasks = opt (types.attrsOf (types.submodule task)) { };
    scripts = opt (types.attrsOf (types.submodule script)) { };
    processes = opt (types.attrsOf (types.submodule process)) { };
  };
}
