# A module with options of its own: one task for each file in `checks.files`.
{ lib, config, ... }:
let
  cfg = config.checks;
in
{
  options.checks = {
    strict = lib.mkEnableOption "failing when a file is too long";
    files = lib.mkOption {
      default = { };
      description = "Files to check, by path.";
      type = lib.types.attrsOf (lib.types.submodule {
        options.maxLines = lib.mkOption {
          type = lib.types.ints.positive;
          default = 80;
        };
      });
    };
  };

  config.tasks = lib.mapAttrs'
    (path: check: lib.nameValuePair "checks:${lib.replaceStrings [ "/" ] [ "-" ] path}" {
      description = "${path} has at most ${toString check.maxLines} lines";
      exec = ''
        lines=$(count-lines ${lib.escapeShellArg path})
        echo "${path}: $lines lines"
        if [ "$lines" -gt ${toString check.maxLines} ]; then
          echo "${path} is too long" >&2
          ${if cfg.strict then "exit 1" else "true"}
        fi
      '';
      before = [ "devenv:enterTest" ];
    })
    cfg.files;
}
