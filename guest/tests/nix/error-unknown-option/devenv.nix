{ lib, ... }:
{
  taks."app:x".exec = "true";
  languages.rusty.enable = true;
  services.postgresql = { enable = true; };
  cloud.memroy = "4gb";
  nonsense = lib.mkIf false 1;
}
