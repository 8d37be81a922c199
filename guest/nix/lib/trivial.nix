# Functions about functions, numbers, files and messages, and the package
# helpers (`getExe` …) that devenv files use most.
{ lib }:
let
  inherit (builtins) isAttrs trace seq deepSeq toJSON;
in
{
  inherit (builtins) add sub mul div lessThan bitAnd bitOr bitXor isInt isFloat isBool
    isPath seq deepSeq trace toString pathExists readDir genericClosure
    ceil floor tryEval addErrorContext toPath;

  id = x: x;
  const = x: _: x;
  pipe = builtins.foldl' (x: f: f x);
  flip = f: a: b: f b a;
  compose = f: g: x: f (g x);
  "or" = a: b: a || b;
  and = a: b: a && b;
  xor = a: b: a != b;
  bitNot = n: -1 - n;
  min = a: b: if a < b then a else b;
  max = a: b: if a > b then a else b;
  mod = a: b: a - b * (a / b);
  compare = a: b: if a < b then -1 else if a > b then 1 else 0;
  mapNullable = f: x: if x == null then null else f x;
  defaultTo = default: x: if x == null then default else x;
  concat = a: b: a ++ b;
  fix = f: let x = f x; in x;
  extends = overlay: f: final: let prev = f final; in prev // overlay final prev;
  composeExtensions = f: g: final: prev:
    let a = f final prev; in a // g final (prev // a);
  makeExtensible = f: lib.fix f // { extend = o: lib.makeExtensible (lib.extends o f); };
  functionArgs = f: if f ? __functor then f.__functionArgs or (lib.functionArgs (f.__functor f)) else builtins.functionArgs f;
  isFunction = f: builtins.isFunction f || f ? __functor && lib.isFunction (f.__functor f);
  setFunctionArgs = f: args: { __functor = _: f; __functionArgs = args; };
  mirrorFunctionArgs = f: g: lib.setFunctionArgs g (lib.functionArgs f);
  toFunction = x: if lib.isFunction x then x else _: x;
  toHexString = n: (if n >= 16 then lib.toHexString (n / 16) else "") + builtins.substring (lib.mod n 16) 1 "0123456789ABCDEF";
  callPackageWith = scope: f: args:
    let fn = if lib.isFunction f then f else import f; in
    fn (builtins.intersectAttrs (lib.functionArgs fn) scope // args);

  importJSON = path: builtins.fromJSON (builtins.readFile path);
  importTOML = path: builtins.fromTOML (builtins.readFile path);
  pathIsDirectory = path: lib.pathType path == "directory";
  pathIsRegularFile = path: lib.pathType path == "regular";
  pathType = path: (builtins.readDir (dirOf path)).${baseNameOf path} or "missing";
  inNixShell = false;
  inPureEvalMode = false;
  isInOldestRelease = false;
  version = "0-built-in";
  release = "0";

  warn = message: trace "warning: ${message}";
  warnIf = cond: message: if cond then lib.warn message else x: x;
  warnIfNot = cond: lib.warnIf (!cond);
  info = message: trace "info: ${message}";
  throwIf = cond: message: if cond then throw message else x: x;
  throwIfNot = cond: lib.throwIf (!cond);
  assertMsg = cond: message: cond || throw message;
  assertOneOf = name: value: allowed:
    lib.assertMsg (builtins.elem value allowed)
      "${name} must be one of ${toJSON allowed}, but is ${toJSON value}";
  checkListOfEnum = message: valid: given: x:
    let bad = builtins.filter (v: !(builtins.elem v valid)) given; in
    if bad == [ ] then x else throw "${message}: ${toJSON bad} not in ${toJSON valid}";
  showWarnings = warnings: x: builtins.foldl' (acc: w: lib.warn w acc) x warnings;
  traceVal = x: trace x x;
  traceValFn = f: x: trace (f x) x;
  traceIf = cond: message: x: if cond then trace message x else x;
  traceSeq = x: y: trace (deepSeq x x) y;
  traceValSeq = x: trace (deepSeq x x) x;

  # The program of a package: what it calls its main program, or its own name.
  getExe = pkg:
    "${lib.getBin pkg}/bin/${pkg.meta.mainProgram or (lib.getName pkg)}";
  getExe' = pkg: program: "${lib.getBin pkg}/bin/${program}";
  lowPrio = pkg: pkg;
  hiPrio = pkg: pkg;
  meta = { inherit (lib) getExe getExe' lowPrio hiPrio; };
  makeOverridable = f: args:
    let result = f args; in
    if isAttrs result then result // {
      override = new: lib.makeOverridable f (args // (if lib.isFunction new then new args else new));
    } else result;

  cleanSource = src: builtins.path {
    name = "source";
    path = src;
    filter = path: _: !(builtins.elem (baseNameOf path) [ ".git" ".devenv" ".direnv" "result" ]);
  };
  cleanSourceWith = { src, filter ? (_: _: true), name ? "source" }:
    builtins.path { inherit name filter; path = src; };
  sources = { inherit (lib) cleanSource cleanSourceWith; };

  generators = {
    toJSON = { }: toJSON;
    toYAML = { }: toJSON; # JSON is YAML
    toKeyValue = { mkKeyValue ? lib.generators.mkKeyValueDefault { } "=", listsAsDuplicateKeys ? false, indent ? "" }: set:
      lib.concatMapStrings
        (n:
          let vs = if listsAsDuplicateKeys then lib.toList set.${n} else [ set.${n} ]; in
          lib.concatMapStrings (v: indent + mkKeyValue n v + "\n") vs)
        (builtins.attrNames set);
    mkValueStringDefault = _: v:
      if builtins.isBool v then lib.boolToString v
      else if v == null then "null"
      else if builtins.isFloat v then toJSON v
      else toString v;
    mkKeyValueDefault = { mkValueString ? lib.generators.mkValueStringDefault { } }: sep: k: v:
      "${lib.escape [ sep ] k}${sep}${mkValueString v}";
    toINI = args: sections: lib.concatStringsSep "\n" (lib.mapAttrsToList
      (n: section: "[${n}]\n" + lib.generators.toKeyValue (removeAttrs args [ "mkSectionName" ]) section)
      sections);
  };

  # What `meta` of a package may name; no licence is judged here.
  licenses = lib.genAttrs
    [ "agpl3Only" "agpl3Plus" "asl20" "bsd2" "bsd3" "cc0" "gpl2Only" "gpl2Plus" "gpl3Only" "gpl3Plus" "isc" "lgpl21Only" "lgpl3Only" "mit" "mpl20" "unfree" "unlicense" "zlib" ]
    (n: { shortName = n; });
  platforms = { all = [ ]; linux = [ "x86_64-linux" "aarch64-linux" ]; darwin = [ "x86_64-darwin" "aarch64-darwin" ]; unix = lib.platforms.linux ++ lib.platforms.darwin; };
  maintainers = { };
  fakeHash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
  fakeSha256 = "0000000000000000000000000000000000000000000000000000000000000000";
  systems = {
    flakeExposed = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
    doubles.all = lib.systems.flakeExposed;
  };
}
