{
  imports = [ { name = "a"; } ./other.nix ];
}
