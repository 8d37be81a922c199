# All options of the built-in evaluator.
{ context, root }:
let
  names = import ./names.nix;
  dotfile = "${toString root}/.devenv";
in
{ lib, config, ... }:
let
  inherit (lib) mkOption types genAttrs;
  opt = type: default: mkOption { inherit type default; };
  # A language or a service: `enable` is what counts, all else is for devenv.
  feature = mkOption {
    default = { };
    type = types.submodule {
      freeformType = types.lazyAttrsOf types.anything;
      options.enable = opt types.bool false;
    };
  };
  foreign = mkOption { type = types.anything; default = { }; };
in
{
  imports = [
    ./tasks.nix
    (import ./cloud.nix { inherit context; })
    ./git-hooks.nix
    ./profiles.nix
  ];

  options = {
    name = opt (types.nullOr types.str) null;
    # Lazy, because variables refer to each other; one that a condition leaves
    # undefined is null, that is, unset.
    env = opt (types.lazyAttrsOf (types.anything // { emptyValue = null; })) { };
    packages = opt (types.listOf types.package) [ ];
    enterShell = opt types.lines "";
    enterTest = opt types.lines "";
    outputs = opt (types.lazyAttrsOf types.raw) { };
    assertions = opt (types.listOf types.raw) [ ];
    warnings = opt (types.listOf types.str) [ ];
    lib = opt (types.lazyAttrsOf types.raw) { };

    languages = genAttrs names.languages (_: feature);
    services = genAttrs names.services (_: feature);

    # Read by many files, written by none.
    devenv = {
      root = opt types.str (toString root);
      dotfile = opt types.str dotfile;
      state = opt types.str "${dotfile}/state";
      runtime = opt types.str "${dotfile}/run";
      profile = opt types.str "${dotfile}/profile";
      tmpdir = opt types.str "/tmp";
      isTesting = opt types.bool true;
      cliVersion = opt types.str "2.0.0";
      cli.version = opt (types.nullOr types.str) null;
      flakesIntegration = opt types.bool false;
      warnOnNewVersion = opt types.bool false;
      debug = opt types.bool false;
    };
    git.root = opt (types.nullOr types.str) (toString root);

    _module.args = opt (types.lazyAttrsOf types.raw) { };
    _module.check = opt types.bool true;
  } // genAttrs (names.ignored ++ names.needed) (_: foreign);

  config.env = lib.mkMerge [
    {
      DEVENV_ROOT = lib.mkDefault config.devenv.root;
      DEVENV_DOTFILE = lib.mkDefault config.devenv.dotfile;
      DEVENV_STATE = lib.mkDefault config.devenv.state;
    }
    # A job with a service ends before it starts; but what a project makes of the
    # service's address must evaluate, or the reason would be another one.
    (lib.mkIf config.services.postgres.enable {
      PGHOST = lib.mkDefault config.devenv.runtime;
      PGPORT = lib.mkDefault 5432;
      PGDATA = lib.mkDefault "${config.devenv.state}/postgres";
    })
    (lib.mkIf config.services.redis.enable { REDISDATA = lib.mkDefault "${config.devenv.state}/redis"; })
    (lib.mkIf config.services.mysql.enable {
      MYSQL_HOME = lib.mkDefault "${config.devenv.state}/mysql";
      MYSQL_UNIX_PORT = lib.mkDefault "${config.devenv.runtime}/mysql.sock";
    })
  ];
}
