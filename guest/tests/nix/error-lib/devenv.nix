{ lib, ... }:
{
  env.X = lib.fileset.toSource { };
}
