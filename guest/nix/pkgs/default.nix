# `pkgs` without nixpkgs. Three kinds of packages:
#  - programs of the image (known by their file in /usr/bin) are packages whose
#    directory is /usr;
#  - well-known names of nixpkgs whose program the image lacks, and every other
#    name that the project's files mention (mentions.nix), are *missing* packages
#    (missing.nix): evaluation goes on, the job then fails and lists them;
#  - what a project builds itself, from plain shell (builders.nix).
# Any other name is Nix' own error, with file and line.
{ lib, system, programs, files, nearest }:
let
  inherit (builtins) mapAttrs pathExists isAttrs isList head any elem listToAttrs map;
  missing = import ./missing.nix { inherit system; };
  names = import ./names.nix;
  bash = "/bin/bash";

  has = program:
    if programs != null then elem program programs
    else pathExists "/usr/bin/${program}" || pathExists "/bin/${program}";

  image = name: mainProgram:
    let
      this = {
        type = "derivation";
        inherit name system;
        pname = name;
        version = "0";
        outputName = "out";
        outPath = "/usr";
        drvPath = throw "pkgs.${name} is a program of the image and is not built";
        meta = { inherit mainProgram; };
        passthru = { };
        out = this;
        bin = this;
        dev = this;
        lib = this;
        man = this;
        override = _: this;
        overrideAttrs = _: this;
        __toString = _: "/usr";
      };
    in
    this;

  # programs: "rg", or [ "main" "other" ] (any one will do), or null for what
  # has no program, like a library.
  resolve = path: name: wanted:
    let list = if isList wanted then wanted else [ wanted ]; in
    if wanted != null && any has list
    then image name (head (builtins.filter has list))
    else missing.make "${path}${name}" name;

  sets = mapAttrs
    (set: members: listToAttrs (map (name: { inherit name; value = missing.make "${set}.${name}" name; }) members))
    names.sets;

  # Nested deeper than the sets above; files that also serve macOS mention it.
  frameworks = listToAttrs (map (name: { inherit name; value = missing.make "darwin.apple_sdk.frameworks.${name}" name; })
    [ "AppKit" "ApplicationServices" "Carbon" "Cocoa" "CoreFoundation" "CoreGraphics" "CoreServices" "CoreText" "Foundation" "IOKit" "Metal" "OpenGL" "QuartzCore" "Security" "SystemConfiguration" "WebKit" ]);

  builders = import ./builders.nix { inherit lib system missing bash; };
  platform = rec {
    inherit system;
    config = system;
    isLinux = lib.hasSuffix "-linux" system;
    isDarwin = lib.hasSuffix "-darwin" system;
    isx86_64 = lib.hasPrefix "x86_64" system;
    isAarch64 = lib.hasPrefix "aarch64" system;
    isAarch = isAarch64;
    isUnix = true;
    isMusl = false;
    isWindows = false;
    isMacOS = isDarwin;
    is64bit = true;
    is32bit = false;
    extensions = { sharedLibrary = if isDarwin then ".dylib" else ".so"; executable = ""; };
    parsed.cpu.name = head (lib.splitString "-" system);
  };
  stdenv = platform // {
    inherit (builders) mkDerivation;
    hostPlatform = platform;
    buildPlatform = platform;
    targetPlatform = platform;
    shell = bash;
    cc = withMentioned [ "stdenv" "cc" ] (missing.make "stdenv.cc" "cc") (mentions.tree.stdenv.cc or { });
  };

  # Names that only the project knows, and members of known ones.
  withMentioned = path: base: mentioned: base // mapAttrs
    (name: inner:
      let
        here = path ++ [ name ];
        known = base.${name} or (missing.make (lib.concatStringsSep "." here) name);
      in
      if inner == { } || !(isAttrs known) then known else withMentioned here known inner)
    mentioned;

  mentions = import ./mentions.nix { inherit lib files; };
  known = mapAttrs (resolve "") names.packages // sets // {
    darwin.apple_sdk = { inherit frameworks; sdk = missing.make "darwin.apple_sdk.sdk" "sdk"; };
  };
  # What a package file asks for, and nobody knows, is missing like any other.
  callPackageWith = scope: f: args:
    let
      fn = if lib.isFunction f then f else import f;
      wanted = lib.functionArgs fn;
      unknown = lib.filterAttrs (name: hasDefault: !hasDefault && !(scope ? ${name}) && !(args ? ${name})) wanted;
    in
    fn (mapAttrs (name: _: missing.make name name) unknown // builtins.intersectAttrs wanted scope // args);

  self = withMentioned [ ] known mentions.tree // builders // {
    inherit lib system stdenv;
    # Tasks are written in it: an image without bash is no image.
    bash = image "bash" "bash";
    bashInteractive = image "bash" "bash";
    stdenvNoCC = stdenv;
    hostPlatform = platform;
    buildPlatform = platform;
    targetPlatform = platform;
    runtimeShell = bash;
    config = { };
    pkgs = self;
    callPackage = callPackageWith self;
    newScope = extra: callPackageWith (self // extra);
    extend = _: throw "pkgs.extend: overlays need nixpkgs, which the built-in evaluator does not have";
    appendOverlays = _: throw "pkgs.appendOverlays: overlays need nixpkgs, which the built-in evaluator does not have";
    path = throw "pkgs.path: there is no nixpkgs in the built-in evaluator";
  };
in
{
  pkgs = self;
  inherit missing;
  inherit (mentions) placeOf;
  # The nearest known name, for a package that only the project knows.
  similar = name:
    if known ? ${name} || lib.hasInfix "." name then null else nearest name (builtins.attrNames known);
}
