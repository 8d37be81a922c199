{ pkgs, unstable, ... }:
{
  packages = [ unstable.git ];
}
