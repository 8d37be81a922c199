{
  packages = [ "git" ];
}
