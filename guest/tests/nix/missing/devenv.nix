{ pkgs, lib, ... }:
{
  packages = [ pkgs.git pkgs.postgresql_16 pkgs.nodePackages.prettier ];
  languages.rust.enable = true;
  languages.go.enable = false;
  languages.python = { version = "3.12"; venv.enable = true; };
  services.redis.enable = lib.mkIf true true;
  tasks."app:lint".exec = "${lib.getExe pkgs.ripgrep} TODO";
  scripts.made.exec = "${pkgs.writeShellScript "made" "${pkgs.jq}/bin/jq ."}";
  outputs.server = pkgs.buildGoModule { pname = "server"; version = "1"; src = ./.; vendorHash = null; };
  enterShell = lib.optionalString false "${pkgs.terraform}";
  files."x.json".json = { };
  cachix.enable = false;
  dotenv.enable = true;
  git-hooks.hooks.rustfmt.enable = true;
}
