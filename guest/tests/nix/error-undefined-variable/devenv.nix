{ pkgs, ... }:
{
  packages = [ git ];
}
