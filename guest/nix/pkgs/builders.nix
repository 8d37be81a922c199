# Builders of nixpkgs that need nothing but a shell: the image's bash builds
# them, with the image's own programs in PATH (the guest builds without a
# sandbox; the machine itself is the sandbox).
{ lib, system, missing, bash }:
let
  inherit (builtins) isList concatStringsSep map filter attrNames toJSON;

  # builtins.derivation, but a missing package among the inputs marks the result.
  derive = attrs:
    let
      drv = builtins.derivation ({
        inherit system;
        builder = bash;
        PATH = "/usr/bin:/bin";
        preferLocalBuild = true;
        allowSubstitutes = false;
      } // attrs);
      inputs = builtins.getContext (toJSON (removeAttrs attrs [ "name" "builder" ]));
      lost = filter (lib.hasInfix "-${missing.prefix}") (attrNames inputs);
      mark = lib.concatMapStrings (path: builtins.appendContext "" { ${path} = inputs.${path}; }) lost;
    in
    if lost == [ ] then drv
    else drv // { outPath = mark + drv.outPath; drvPath = mark + drv.drvPath; };

  package = { meta ? { }, passthru ? { }, pname ? null, version ? null }: drv:
    let
      this = drv // passthru // {
        inherit meta passthru;
        override = _: this;
        overrideAttrs = _: throw "overrideAttrs is not in the built-in evaluator (${drv.name})";
      }
      // (if pname == null then { } else { inherit pname; })
      // (if version == null then { } else { inherit version; });
    in
    this;

  # Nix kills a builder that has closed its output. bash replaces itself by the
  # last program of a script, and that program may close its output a moment
  # before it ends; so the last thing must be bash's own.
  run = name: env: script:
    derive ({ name = lib.sanitizeDerivationName name; args = [ "-e" "-c" "${script}\nexit $?" ]; } // env);

  writeTextFile = { name, text, executable ? false, destination ? "", checkPhase ? "", meta ? { }, ... }:
    package { inherit meta; } (run name
      { inherit text executable destination; passAsFile = [ "text" ]; }
      ''
        target="$out$destination"
        mkdir -p "$(dirname "$target")"
        cp "$textPath" "$target"
        if [ -n "$executable" ]; then chmod +x "$target"; fi
        ${checkPhase}
      '');
  shebang = text: "#!${bash}\n${text}\n";
  main = name: { mainProgram = name; };

  # A package that this evaluator made itself, as opposed to one of the image.
  binDirs = inputs: concatStringsSep ":" (map (p: "${lib.getBin p}/bin") (filter (p: p != null) inputs));
  setEnv = inputs: { PATH = binDirs inputs + (if inputs == [ ] then "" else ":") + "/usr/bin:/bin"; };

  mkDerivation = argsOrFn:
    let
      args = if lib.isFunction argsOrFn then argsOrFn (args // { finalPackage = this; }) else argsOrFn;
      name = args.name or "${args.pname}-${args.version or "0"}";
      inputs = (args.nativeBuildInputs or [ ]) ++ (args.buildInputs or [ ]);
      env = removeAttrs args [ "meta" "passthru" "name" "nativeBuildInputs" "buildInputs" "env" ] // (args.env or { });
      this = package
        { meta = args.meta or { }; passthru = args.passthru or { }; pname = args.pname or null; version = args.version or null; }
        (derive (env // setEnv inputs // {
          inherit name;
          buildInputs = inputs;
          args = [ "-e" ./mk-derivation.sh ];
        }));
    in
    this;
in
rec {
  inherit mkDerivation writeTextFile;

  writeText = name: text: writeTextFile { inherit name text; };
  writeTextDir = path: text: writeTextFile { name = baseNameOf path; inherit text; destination = "/${path}"; };
  writeScript = name: text: writeTextFile { inherit name text; executable = true; };
  writeScriptBin = name: text: writeTextFile { inherit name text; executable = true; destination = "/bin/${name}"; meta = main name; };
  writeShellScript = name: text: writeTextFile { inherit name; text = shebang text; executable = true; };
  writeShellScriptBin = name: text: writeScriptBin name (shebang text);
  writeShellApplication = { name, text, runtimeInputs ? [ ], runtimeEnv ? { }, bashOptions ? [ "errexit" "nounset" "pipefail" ], meta ? { }, ... }:
    writeTextFile {
      inherit name;
      executable = true;
      destination = "/bin/${name}";
      meta = main name // meta;
      text = shebang (concatStringsSep "\n" (
        map (o: "set -o ${o}") bashOptions
        ++ lib.mapAttrsToList (n: v: "export ${lib.toShellVar n v}") runtimeEnv
        ++ (if runtimeInputs == [ ] then [ ] else [ "export PATH=\"${binDirs runtimeInputs}:$PATH\"" ])
        ++ [ text ]));
    };
  concatTextFile = { name, files, ... }: run name { inherit files; } "cat $files > $out";

  runCommand = name: env: script:
    let inputs = (env.nativeBuildInputs or [ ]) ++ (env.buildInputs or [ ]); in
    package
      { meta = env.meta or { }; passthru = env.passthru or { }; }
      (run name (setEnv inputs // { buildInputs = inputs; } // removeAttrs env [ "nativeBuildInputs" "buildInputs" "meta" "passthru" ]) script);
  runCommandLocal = runCommand;
  runCommandNoCC = runCommand;
  runCommandCC = runCommand;

  symlinkJoin = { name, paths, postBuild ? "", meta ? { }, ... }:
    package { inherit meta; } (run name { inherit paths; } ''
      mkdir -p "$out"
      shopt -s dotglob nullglob
      for path in $paths; do
        for entry in "$path"/*; do cp -rsf --no-preserve=mode "$entry" "$out"/; done
      done
      ${postBuild}
    '');
  buildEnv = symlinkJoin;
  linkFarm = name: entries:
    let
      list = if isList entries then entries else lib.mapAttrsToList (name: path: { inherit name path; }) entries;
    in
    run name { } (''
      mkdir -p "$out" && cd "$out"
    '' + lib.concatMapStrings (e: ''
      mkdir -p "$(dirname ${lib.escapeShellArg e.name})"
      ln -s "${e.path}" ${lib.escapeShellArg e.name}
    '') list);
  emptyFile = run "empty-file" { } "touch $out";
  emptyDirectory = run "empty-directory" { } "mkdir $out";

  mkShell = args: mkDerivation ({ name = "shell"; dontUnpack = true; } // removeAttrs args [ "packages" "shellHook" "inputsFrom" ] // {
    buildInputs = (args.packages or [ ]) ++ (args.buildInputs or [ ]);
    installPhase = "mkdir -p $out";
  });
  mkShellNoCC = mkShell;

  formats =
    let
      asJson = { ... }: {
        type = lib.types.anything;
        generate = name: value: writeText name (toJSON value);
      };
    in
    {
      json = asJson;
      yaml = asJson; # JSON is YAML
      keyValue = { ... }: { type = lib.types.anything; generate = name: v: writeText name (lib.generators.toKeyValue { } v); };
      ini = { ... }: { type = lib.types.anything; generate = name: v: writeText name (lib.generators.toINI { } v); };
    };
}
