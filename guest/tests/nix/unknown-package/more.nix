{ pkgs, ... }: { enterShell = "${pkgs.tesh.dev}/x"; }
