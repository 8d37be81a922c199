{ inputs, ... }:
{
  packages = [ inputs.fenix.packages.default ];
}
