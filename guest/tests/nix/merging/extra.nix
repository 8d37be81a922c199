{ lib, ... }:
{
  name = "not this";
  env.D = lib.mkDefault "default";
  tasks."app:extra".exec = "extra";
}
