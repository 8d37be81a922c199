{ pkgs, ... }:
{
  packages = [ pkgs.gti ];
}
