{ pkgs, ... }:
{
  env = {
    STRING = "s";
    YES = true;
    NO = false;
    INT = 42;
    FLOAT = 1.5;
    LIST = [ "a" 2 true ];
    UNSET = null;
    PATH_IN_STORE = ./devenv.nix;
    PACKAGE = pkgs.git;
    DEVENV_STATE = "/elsewhere";
  };
}
