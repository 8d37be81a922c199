# What the evaluator practises on: a little of everything that projects do.
{ pkgs, lib, config, ... }:
{
  env.GREETING = lib.mkDefault "hello";
  packages = [ pkgs.git ] ++ lib.optional (config.env ? GREETING) pkgs.coreutils;
  scripts.greet = {
    exec = ''echo "$GREETING"'';
    description = "Says hello.";
  };
  tasks."app:build".exec = "make";
  tasks."app:test" = {
    exec = "make check";
    after = [ "app:build" ];
    before = [ "devenv:enterTest" ];
  };
  profiles.fast.module = { env.FAST = "1"; };
  enterShell = "greet";
  enterTest = lib.mkIf (config.env ? GREETING) "test -e result";
}
