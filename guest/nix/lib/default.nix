# `lib`, as devenv.nix gets it: the part of nixpkgs' library that such files
# really use, written anew. The sub-namespaces (`lib.strings`, `lib.lists`, …)
# are the whole library, so that every spelling of a name works.
{ home }:
let
  own =
    import ./lists.nix { inherit lib; }
    // import ./attrsets.nix { inherit lib; }
    // import ./strings.nix { inherit lib; }
    // import ./trivial.nix { inherit lib; }
    // import ../modules/properties.nix
    // {
      strings = lib;
      lists = lib;
      attrsets = lib;
      trivial = lib;
      fixedPoints = lib;
      options = lib;
      modules = lib;
      customisation = lib;
      debug = lib;
      asserts = lib;
      inherit types;
      inherit (evaluator) evalModules;
      inherit (errors) showOption;
      mkEnableOption = name: lib.mkOption {
        type = types.bool;
        default = false;
        description = "Whether to enable ${name}.";
      };
      mkPackageOption = pkgs: name: args: lib.mkOption {
        type = types.package;
        default = lib.attrByPath (lib.toList (args.default or name)) (throw "pkgs.${toString name} does not exist") pkgs;
      };
    };

  # A name that nixpkgs has and this library has not says so, instead of Nix'
  # bare "attribute missing".
  absent = builtins.listToAttrs (map
    (name: {
      inherit name;
      value = throw "lib.${name} exists in nixpkgs, but not in the built-in evaluator, which has the common part of `lib' (docs/devenv.md lists it). Write it out in plain Nix, or use an image that has the devenv command.";
    })
    (import ./absent-names.nix));

  lib = absent // own;
  errors = import ../modules/errors.nix { inherit lib home; };
  definitions = import ../modules/definitions.nix { inherit lib errors; };
  evaluator = import ../modules/eval.nix { inherit lib errors definitions; getTypes = _: types; };
  types = import ../modules/types.nix {
    inherit lib errors definitions;
    inherit (evaluator) evalSubmodule;
  };
in
{
  inherit lib errors;
  inherit (evaluator) evalModules;
}
