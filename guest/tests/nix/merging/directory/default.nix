{
  imports = [ ../extra.nix ]; # twice imported counts once
  env.D = "stronger than a default";
}
