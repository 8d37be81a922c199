{ config, ... }:
{
  assertions = [
    { assertion = true; message = "not this"; }
    { assertion = config.name == "x"; message = "the name must be x"; }
  ];
}
