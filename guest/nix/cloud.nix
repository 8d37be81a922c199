# `config.cloud` for the real devenv command, which has no such options of its
# own. The guest adds this module to a project's imports and names, in
# DEVENV_CLOUD_CONTEXT, a file with the same JSON that the built-in evaluator
# gets. Without that variable, as on a developer's machine, nothing is known and
# `cloud.enable` is false.
let
  file = builtins.getEnv "DEVENV_CLOUD_CONTEXT";
  context = if file == "" then { cloud.enable = false; } else builtins.fromJSON (builtins.readFile file);
in
import ./options/cloud.nix { inherit context; }
