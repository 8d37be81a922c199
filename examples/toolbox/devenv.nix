# Modules, own options, conditions on where the project runs, and a package
# that the project makes for itself.
{ pkgs, lib, config, ... }:
let
  count = pkgs.writeShellScriptBin "count-lines" ''
    total=0
    for file in "$@"; do
      while IFS= read -r _; do total=$((total + 1)); done < "$file"
    done
    echo "$total"
  '';
in
{
  imports = [ ./checks ];

  packages = [ count ];

  # On a developer's machine be quick, in CI be thorough.
  checks.strict = lib.mkDefault config.cloud.enable;

  checks.files = {
    "devenv.nix" = { maxLines = 60; };
    "checks/default.nix" = { };
  };

  enterTest = ''
    echo "counted $(count-lines devenv.nix checks/default.nix) lines in all"
  '';
}
