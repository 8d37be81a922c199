# Profiles: more configuration, when asked for by name (`profiles.ci`) or by the
# machine's host name or user.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  profile = types.submodule {
    options = {
      extends = mkOption { type = types.listOf types.str; default = [ ]; };
      module = mkOption { type = types.deferredModule; default = { }; };
    };
  };
  named = types.lazyAttrsOf profile;
in
{
  options.profiles = mkOption {
    default = { };
    type = types.submodule {
      freeformType = named;
      options = {
        hostname = mkOption { type = named; default = { }; };
        user = mkOption { type = named; default = { }; };
      };
    };
  };
}
