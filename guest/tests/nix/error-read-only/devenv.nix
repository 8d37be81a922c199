{ lib, config, ... }:
{
  imports = [ { fixed = "b"; } ];
  options.fixed = lib.mkOption { type = lib.types.lines; readOnly = true; };
  config.fixed = "a";
  config.env.X = "x";
  config.enterTest = config.fixed;
}
