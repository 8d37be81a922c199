{ lib, config, ... }:
{
  env.LEVEL = "plain";
  name = "plain";
  enterShell = "plain";
  tasks."app:x".exec = "plain";

  profiles = {
    base.module = {
      env.LEVEL = "base";
      env.BASE = true;
      enterShell = "base";
    };
    ci = {
      extends = [ "base" ];
      module = { config, ... }: {
        env.LEVEL = "ci";
        env.NAME = config.name;
        name = "ci";
        tasks."app:x".exec = "ci";
        enterShell = "ci";
      };
    };
    unused.module.env.UNUSED = throw "an inactive profile is not looked at";
    hostname.builder.module = { env.LEVEL = "host"; env.HOST = "builder"; };
    user.alice.module = ./alice.nix;
  };
}
