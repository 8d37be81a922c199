{ pkgs, greeting, optionalOne ? "not given", inputs, lib, ... }:
{
  _module.args.greeting = "hello";
  env.GREETING = greeting;
  env.OPTIONAL = optionalOne;
  env.SELF = inputs.self;
  env.HAS = lib.optionalString (inputs ? nixpkgs) "declared, but not fetched";
  env.SYSTEM = pkgs.stdenv.hostPlatform.system;
  env.LINUX = pkgs.stdenv.isLinux;
}
