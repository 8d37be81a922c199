# A package that is not there. It evaluates like any package, so that the shape
# of a project can be read without nixpkgs, and it leaves a mark wherever it is
# used: its path is an (empty) store file with a telling name, and Nix itself
# carries that file in the context of every string that mentions the package.
# The report looks for the mark (see report.nix), and the guest fails the job.
{ system }:
let
  prefix = "missing-package-";
  self = attr: name:
    let
      # A store file's name has fewer letters than an npm package's.
      outPath = builtins.toFile "${prefix}${builtins.replaceStrings [ "@" "/" ] [ "" "_" ] attr}" "";
      this = {
        type = "derivation";
        missing = true;
        inherit name system outPath;
        pname = name;
        version = "0";
        outputName = "out";
        drvPath = outPath;
        meta = { mainProgram = name; description = "not available in the built-in evaluator"; };
        passthru = { };
        out = this;
        bin = this;
        dev = this;
        lib = this;
        man = this;
        doc = this;
        override = _: this;
        overrideAttrs = _: this;
        overridePythonAttrs = _: this;
        withPackages = _: this;
        withExtensions = _: this;
        # `pkgs.buildGoModule { … }`: what a missing function makes is missing.
        __functor = _: _: this;
        __toString = _: outPath;
      };
    in
    this;
in
{
  inherit prefix;
  make = self;

  # The names of missing packages that a string mentions.
  namesIn = string:
    let
      marked = map
        (path: builtins.match "${builtins.storeDir}/[^-]*-${prefix}(.*)" path)
        (builtins.attrNames (builtins.getContext string));
    in
    map builtins.head (builtins.filter (m: m != null) marked);
}
