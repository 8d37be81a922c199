{
  imports = [ ./tasks.nix ];
}
