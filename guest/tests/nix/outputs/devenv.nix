{ pkgs, ... }:
{
  outputs = {
    text = pkgs.writeText "text" "hello";
    apps.cli = pkgs.writeShellScriptBin "cli" "echo cli";
    version = "1.2.3";
  };
  packages = [ (pkgs.writeShellApplication { name = "tool"; runtimeInputs = [ pkgs.git ]; text = "git --version"; }) ];
}
