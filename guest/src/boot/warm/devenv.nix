# What a machine does to warm up: a little of everything that projects do.
{ pkgs, lib, config, ... }:
{
  env.GREETING = lib.mkDefault "warm";
  packages = [ pkgs.git ] ++ lib.optional (config.env ? GREETING) pkgs.coreutils;
  scripts.greet.exec = ''echo "$GREETING"'';
  tasks."warm:first".exec = "git log -1 --format=%h > first";
  tasks."warm:second" = {
    exec = "greet; cat first";
    after = [ "warm:first" ];
    before = [ "devenv:enterTest" ];
  };
  enterTest = "test -s first";
}
