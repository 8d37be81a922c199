{ lib, ... }:
{
  name = lib.mkIf "yes" "x";
}
