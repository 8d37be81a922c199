# What the guest is told: the evaluated configuration as plain data (README.md
# describes the shape), and everything that the project needs and this evaluator
# cannot give.
{ lib, errors, missing, similar, placeOf, inputs }:
{ tree, activeProfiles }:
let
  inherit (builtins) mapAttrs attrNames filter map concatMap isAttrs isList isBool isString isPath
    isInt isFloat toJSON getContext match head listToAttrs elem;
  inherit (tree) config options;
  names = import ./options/names.nix;
  isDrv = x: isAttrs x && x.type or null == "derivation";

  # ---- Strings ----------------------------------------------------------------

  # Environment variables as Nix would give them to a builder: true is 1, false
  # is empty, a list is its members with spaces, a path is put into the store.
  envString = loc: v:
    if isString v then v
    else if isBool v then (if v then "1" else "")
    else if isInt v then toString v
    else if isFloat v then toJSON v
    else if isPath v || v ? outPath || v ? __toString then "${v}"
    else if isList v then lib.concatMapStringsSep " " (envString loc) v
    else throw "The variable `${errors.showOption loc}' must be a string, a number, a boolean, a path, a package or a list of these, but it is ${errors.preview v}.${errors.showPlaces (placesOf loc)}";
  # null leaves a variable unset.
  envOf = loc: set: mapAttrs (n: envString (loc ++ [ n ])) (lib.filterAttrs (_: v: v != null) set);
  placesOf = loc:
    let
      option = options.${head loc};
      name = lib.last loc;
    in
    concatMap
      (d: if isAttrs d.value && d.value ? ${name} then [ (d // { pos = errors.posOf name d.value d.pos; }) ] else [ ])
      (option.definitionsWithLocations or [ ]);

  # ---- Tasks, scripts, processes ----------------------------------------------

  badTaskNames = filter (n: match "[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)+" n == null) (attrNames config.tasks);
  checkTaskNames = badTaskNames == [ ] || throw
    ("A task is named `namespace:name', of letters, digits, `_', `-' and `.', for example `app:${head badTaskNames}'. These are not:"
      + lib.concatMapStrings (n: " `${n}'") badTaskNames + errors.showPlaces (concatMap (n: placesOf [ "tasks" n ]) badTaskNames));

  interpreterOf = x:
    if x.binary != null then "${lib.getBin x.package}/bin/${x.binary}"
    else if x.package.outPath == "/usr" && x.package.pname == "bash" then null
    else lib.getExe x.package;

  task = name: t:
    if t.status != null && t.execIfModified != [ ] then
      throw "The task `${name}' has both `status' and `execIfModified'; only one of them can say whether it has to run.${errors.showPlaces (placesOf [ "tasks" name ])}"
    else {
      inherit (t) type exec status after before cwd description input showOutput execIfModified exports;
      env = envOf [ "tasks" name "env" ] t.env;
      interpreter = interpreterOf t;
    };
  script = _: s: {
    inherit (s) exec description;
    interpreter = interpreterOf s;
    packages = packagePaths s.packages;
  };
  process = name: p: {
    inherit (p) exec cwd after before;
    env = envOf [ "processes" name "env" ] p.env;
  };

  # A program of the image, a built package, or a mark of a missing one.
  packagePaths = list: lib.unique (map (p: "${lib.getBin p}") list);

  # ---- Outputs ----------------------------------------------------------------

  # Derivations may stand in groups: outputs.apps.cli is reported as "apps.cli".
  flatOutputs = prefix: set: concatMap
    (n:
      let
        v = set.${n};
        name = "${prefix}${n}";
      in
      if isDrv v then [ {
        inherit name;
        value =
          if v.missing or false then v.outPath
          else if v.outPath == "/usr" then "/usr/bin/${v.meta.mainProgram}"
          # Not `outPath': Nix prints a set with that name as the bare path.
          else { inherit (v) drvPath; path = v.outPath; };
      } ]
      else if isAttrs v && !(v ? outPath) then flatOutputs "${name}." v
      else if isString v || isPath v || v ? outPath then [ { inherit name; value = "${v}"; } ]
      else throw "The output `${name}' must be a package, a path or a string, but it is ${errors.preview v}.${errors.showPlaces (placesOf [ "outputs" n ])}")
    (attrNames set);

  # ---- git-hooks --------------------------------------------------------------

  hooks = if config.git-hooks.enable then lib.filterAttrs (_: h: h.enable) config.git-hooks.hooks else { };
  hook = name: h: {
    inherit (h) enable name description entry args language files types excludes stages;
    typesOr = h.types_or;
    excludeTypes = h.exclude_types;
    passFilenames = h.pass_filenames;
    alwaysRun = h.always_run;
    requireSerial = h.require_serial;
  };

  # ---- What is missing --------------------------------------------------------

  sections = {
    packages = packages;
    env = data.env;
    enterShell = data.enterShell;
    enterTest = data.enterTest;
  }
  // lib.mapAttrs' (n: lib.nameValuePair "tasks.${n}") data.tasks
  // lib.mapAttrs' (n: lib.nameValuePair "scripts.${n}") data.scripts
  // lib.mapAttrs' (n: lib.nameValuePair "processes.${n}") data.processes
  // lib.mapAttrs' (n: lib.nameValuePair "outputs.${n}") data.outputs
  // lib.mapAttrs' (n: lib.nameValuePair "git-hooks.hooks.${n}") data.gitHooks;
  used = concatMap
    (section: map (name: { name = "pkgs.${name}"; inherit section; }) (missing.namesIn (toJSON sections.${section})))
    (attrNames sections);

  placeOfOption = option: let d = option.rawDefs; in if d == [ ] then null else errors.place (head d);
  features = group: concatMap
    (n:
      let option = options.${group}.${n}; in
      if option.isSet && option.value.enable
      then [ { name = "${group}.${n}"; usedBy = [ "${group}.${n}.enable" ]; place = placeOfOption option; } ] else [ ])
    names.${group};
  isOn = v: if isAttrs v && !(isDrv v) then v.enable or (v != { }) else v != [ ] && v != null && v != false;
  foreign = concatMap
    (n: if options.${n}.isSet && isOn options.${n}.value then [ { name = n; usedBy = [ n ]; place = placeOfOption options.${n}; } ] else [ ])
    names.needed;
  readyMadeHooks = map
    (n: { name = "git-hooks.hooks.${n}"; usedBy = [ "git-hooks.hooks.${n}.enable" ]; place = null; })
    (attrNames (lib.filterAttrs (_: h: h.entry == null) hooks));
  missingPackages = map
    (name: {
      inherit name;
      usedBy = map (u: u.section) (filter (u: u.name == name) used);
      place = placeOf (lib.removePrefix "pkgs." name);
      similar =
        let found = similar (lib.removePrefix "pkgs." name); in
        if found == null then null else "pkgs.${found}";
    })
    (lib.uniqueStrings (map (u: u.name) used));
  everythingMissing = missingPackages ++ features "languages" ++ features "services" ++ foreign ++ readyMadeHooks;

  # ---- Warnings and assertions ------------------------------------------------

  ignoredHere = filter (n: options.${n}.isSet && isOn options.${n}.value) names.ignored;
  knownInputs = [ "nixpkgs" "devenv" "git-hooks" "nixpkgs-unstable" ];
  otherInputs = filter (n: !(elem n knownInputs)) (attrNames inputs);
  warnings = config.warnings
    ++ map (n: "`${n}' is accepted and ignored by the built-in evaluator.") ignoredHere
    ++ (if otherInputs == [ ] then [ ] else [
      "The inputs ${lib.concatMapStringsSep ", " (n: "`${n}'") otherInputs} of devenv.yaml are not fetched by the built-in evaluator; using one is an error."
    ]);
  failed = filter (a: !a.assertion) config.assertions;
  checkAssertions = failed == [ ] || throw
    ("Failed assertions:" + lib.concatMapStrings (a: "\n- ${a.message}") failed);

  packages = packagePaths config.packages;
  data = {
    env = envOf [ "env" ] config.env;
    inherit (config) enterShell enterTest;
    tasks = mapAttrs task config.tasks;
    scripts = mapAttrs script config.scripts;
    processes = mapAttrs process config.processes;
    outputs = listToAttrs (flatOutputs "" config.outputs);
    gitHooks = mapAttrs hook hooks;
  };

  known = text: if text == "" then null else text;

  # Derivations that tasks and the environment refer to, to be realised before
  # anything runs; those of outputs are built later, as a stage of their own.
  derivations = filter (lib.hasSuffix ".drv")
    (attrNames (getContext (toJSON (removeAttrs data [ "outputs" ] // { inherit packages; }))));
in
assert tree.checked;
assert checkAssertions;
assert checkTaskNames;
# All or nothing: an old Nix prints while it evaluates, and would leave half a
# document before an error.
(x: builtins.deepSeq x x) (data // {
  format = 1;
  inherit (config) name;
  inherit packages derivations activeProfiles warnings;
  profiles = attrNames (removeAttrs config.profiles [ "hostname" "user" ])
    ++ map (n: "hostname.${n}") (attrNames config.profiles.hostname)
    ++ map (n: "user.${n}") (attrNames config.profiles.user);
  cloud = { inherit (config.cloud) memory cpus platforms; };
  gitHooksFrom = known config.git-hooks.fromRef;
  gitHooksTo = known config.git-hooks.toRef;
  missingPackages = map (m: m.name) everythingMissing;
  missing = everythingMissing;
})
