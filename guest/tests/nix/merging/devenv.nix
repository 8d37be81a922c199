{ lib, config, ... }:
{
  imports = [
    ./extra.nix
    ./directory
    { enterShell = "from a set"; }
    ({ lib, ... }: { enterShell = lib.mkAfter "last"; })
  ];
  enterShell = lib.mkMerge [
    "own"
    (lib.mkIf false "never")
    (lib.mkBefore "first")
  ];
  name = lib.mkForce "forced";
  env = lib.mkMerge [
    {
      A = "1";
      B = lib.mkIf (config.env.A == "1") "follows A";
      C = lib.mkIf (config.env.A == "2") "never";
    }
    (lib.mkIf config.cloud.enable { IN_CI = true; })
    (lib.mkIf false { NEVER = "never"; })
  ];
  tasks."app:conditional" = lib.mkIf true { exec = "yes"; };
  tasks."app:gone" = lib.mkIf false { exec = "no"; };
  tasks."app:extra".description = "described here";
}
