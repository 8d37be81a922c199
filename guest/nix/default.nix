# The built-in evaluator: reads a project's devenv.nix with plain Nix, in one go,
# without nixpkgs and without network. The guest calls it as the job's user:
#
#   nix-instantiate --eval --strict --json --read-write-mode \
#     --log-format internal-json -v \
#     /usr/lib/devenv-cloud/nix/default.nix \
#     --arg root /work/repo --argstr context '{"system":"x86_64-linux", …}'
#
# Standard output is one JSON value (README.md: the shape), or nothing and exit
# status 1. `--read-write-mode` because files and derivations that a task
# mentions must really be in the store when it runs.
let
  home = toString ./.;
  library = import ./lib { inherit home; };
  packages = import ./pkgs;
  options = import ./options;
  report = import ./report.nix;
in
{ root, context ? "{}" }:
let
  given = builtins.fromJSON context;
  ctx = builtins.mapAttrs (n: v: if v == null then defaults.${n} or null else v) (defaults // given);
  defaults = {
    system = builtins.currentSystem;
    profiles = [ ];
    cloud = { };
    yaml = { };
    hostname = "";
    user = "";
    # Programs that count as installed; null: look into the image.
    programs = null;
  };
  rootString = toString root;

  inherit (library) lib errors evalModules;
  inherit (packages {
    inherit lib;
    inherit (ctx) system programs;
    inherit (errors) nearest;
    files = projectModules;
  }) pkgs missing similar placeOf;

  # ---- Modules ----------------------------------------------------------------

  yamlFile = "${rootString}/devenv.yaml";
  # Null is what YAML makes of a key without a value.
  yaml = lib.filterAttrs (_: v: v != null) (shaped "devenv.yaml" builtins.isAttrs "a map" ctx.yaml);
  shaped = key: ok: wanted: value:
    if ok value then value
    else throw "`${key}' in `${yamlFile}' must be ${wanted}, but it is ${errors.preview value}.";
  yamlImports = shaped "imports" (v: builtins.isList v && builtins.all builtins.isString v)
    "a list of paths" (yaml.imports or [ ]);
  yamlInputs = shaped "inputs" builtins.isAttrs "a map" (yaml.inputs or { });
  yamlCloud = shaped "cloud" builtins.isAttrs "a map" (yaml.cloud or { });

  # An entry of `imports:` in devenv.yaml: a file, or a directory with a devenv.nix.
  yamlImport = entry:
    let
      path = root + "/${entry}";
      file = path + "/devenv.nix";
      local = path + "/devenv.local.nix";
      input = builtins.head (lib.splitString "/" entry);
    in
    if yamlInputs ? ${input} then
      throw "`${yamlFile}' imports `${entry}' from the input `${input}', which the built-in evaluator does not fetch. Copy that module into the project, or use an image that has the devenv command."
    else if lib.hasSuffix ".nix" entry then [ path ]
    else if builtins.pathExists file then [ file ] ++ lib.optional (builtins.pathExists local) local
    else throw "`${yamlFile}' imports `${entry}', but there is no `${toString file}'.";

  localFile = root + "/devenv.local.nix";
  projectModules =
    builtins.concatMap yamlImport yamlImports
    ++ [ (root + "/devenv.nix") ]
    ++ lib.optional (builtins.pathExists localFile) localFile;
  modules = [
    (options { inherit root; context = ctx; })
    {
      _file = yamlFile;
      cloud = builtins.mapAttrs (_: lib.mkDefault)
        (builtins.intersectAttrs { memory = null; cpus = null; platforms = null; } yamlCloud);
    }
  ] ++ projectModules;

  # Inputs cannot be fetched. Those that are declared fail by name when used.
  noInput = name: throw "The input `${name}' is not available: the built-in evaluator fetches nothing. Use plain Nix and the programs of the image instead, or an image that has the devenv command.";
  inputs = builtins.mapAttrs (name: _: noInput name)
    ({ nixpkgs = null; devenv = null; git-hooks = null; } // yamlInputs)
  // { self = { outPath = rootString; }; };

  evaluate = profileModules: evalModules {
    inherit modules profileModules;
    file = rootString;
    specialArgs = builtins.removeAttrs inputs [ "self" ] // {
      inherit pkgs inputs;
      secretspec = null;
    };
  };

  # ---- Profiles ---------------------------------------------------------------
  # First without any, to see which there are; then, if some are active, again
  # with theirs on top. Host name, then user, then those asked for; each after
  # the ones it extends; later ones win.

  plain = evaluate [ ];
  known = plain.config.profiles;
  asked =
    if ctx.profiles != [ ] then ctx.profiles
    else lib.optional (yaml ? profile) (shaped "profile" builtins.isString "a name" yaml.profile);
  automatic = kind: name: lib.optional (name != "" && known.${kind} ? ${name}) "${kind}.${name}";
  wanted =
    lib.optionals (ctx.hostname != "") (automatic "hostname" ctx.hostname)
    ++ lib.optionals (ctx.user != "") (automatic "user" ctx.user)
    ++ asked;

  profileOf = name:
    let
      parts = builtins.match "(hostname|user)\\.(.+)" name;
      set = if parts == null then removeAttrs known [ "hostname" "user" ] else known.${builtins.head parts};
      key = if parts == null then name else builtins.elemAt parts 1;
      names = builtins.attrNames (removeAttrs known [ "hostname" "user" ]);
    in
    set.${key} or (throw (
      "The profile `${name}' does not exist.${errors.didYouMean name names}"
      + (if names == [ ] then " The project defines none." else " The project defines: ${builtins.concatStringsSep ", " names}.")));
  withExtended = seen: name:
    if builtins.elem name seen then
      throw "Profiles extend each other in a circle: ${builtins.concatStringsSep " -> " (seen ++ [ name ])}"
    else builtins.concatMap (withExtended (seen ++ [ name ])) (profileOf name).extends ++ [ name ];
  activeProfiles = builtins.concatMap (withExtended [ ]) wanted;
  profileModules = lib.imap0
    (index: name: {
      inherit (profileOf name) module;
      file = "${rootString}/devenv.nix (profile ${name})";
      priority = 99 - index;
    })
    activeProfiles;
in
report { inherit lib errors missing similar placeOf; inputs = yamlInputs; } {
  tree = if activeProfiles == [ ] then plain else evaluate profileModules;
  inherit activeProfiles;
}
