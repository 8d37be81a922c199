# Neither name is in the evaluator's list; the text of the file gives them away.
{ pkgs, lib, ... }:
{
  imports = [ ./more.nix ];
  packages = [ pkgs.gti ] ++ (with pkgs; [
    git
    papermc # a comment
    (python3.withPackages (ps: [ ps.requests ]))
    nodePackages.vls
    stdenv.cc.cc.lib
  ]);
  env.LD_LIBRARY_PATH = lib.makeLibraryPath [ pkgs.prisma-engines ];
}
