# Strings. Names and meanings as in nixpkgs' `lib.strings`.
{ lib }:
let
  inherit (builtins) concatStringsSep stringLength substring replaceStrings isString split filter
    match toJSON genList elemAt head;
  lower = lib.stringToCharacters "abcdefghijklmnopqrstuvwxyz";
  upper = lib.stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  # Nix' regular expressions lose the string's context (what must be built for
  # it); adding an empty part of the original brings it back.
  keepContext = from: s: substring 0 0 from + s;
in
{
  inherit (builtins) concatStringsSep stringLength substring replaceStrings isString match split
    toJSON fromJSON fromTOML readFile baseNameOf hashString compareVersions
    unsafeDiscardStringContext parseDrvName splitVersion typeOf;

  concatStrings = concatStringsSep "";
  concatMapStrings = f: list: concatStringsSep "" (map f list);
  concatImapStrings = f: list: concatStringsSep "" (lib.imap1 f list);
  concatMapStringsSep = sep: f: list: concatStringsSep sep (map f list);
  concatImapStringsSep = sep: f: list: concatStringsSep sep (lib.imap1 f list);
  concatMapAttrsStringSep = sep: f: set: concatStringsSep sep (lib.mapAttrsToList f set);
  concatLines = lib.concatMapStrings (s: s + "\n");
  intersperse = sep: list:
    if list == [ ] then [ ]
    else [ (head list) ] ++ builtins.concatMap (x: [ sep x ]) (builtins.tail list);
  join = concatStringsSep;
  optionalString = cond: s: if cond then s else "";
  replicateString = n: s: concatStringsSep "" (genList (_: s) n);

  hasPrefix = p: s: substring 0 (stringLength p) s == p;
  hasSuffix = p: s:
    let from = stringLength s - stringLength p; in
    from >= 0 && substring from (-1) s == p;
  hasInfix = p: s: p == "" || replaceStrings [ p ] [ "" ] "${s}" != "${s}";
  removePrefix = p: s: if lib.hasPrefix p s then substring (stringLength p) (-1) s else s;
  removeSuffix = p: s:
    if lib.hasSuffix p s then substring 0 (stringLength s - stringLength p) s else s;
  splitString = sep: s:
    map (keepContext s) (filter isString (split (lib.escapeRegex sep) (toString s)));
  stringToCharacters = s: genList (i: substring i 1 s) (stringLength s);
  stringAsChars = f: s: lib.concatMapStrings f (lib.stringToCharacters s);
  trim = lib.trimWith { start = true; end = true; };
  trimWith = { start ? false, end ? false }: s:
    let
      a = if start then keepContext s (head (match "[ \t\r\n]*(.*)" s)) else s;
    in
    if end then keepContext s (head (match "(.*[^ \t\r\n]|)[ \t\r\n]*" a)) else a;
  charToInt = c: throw "lib.charToInt is not in the built-in evaluator";

  toLower = replaceStrings upper lower;
  toUpper = replaceStrings lower upper;
  toSentenceCase = s: lib.toUpper (substring 0 1 s) + lib.toLower (substring 1 (-1) s);
  toCamelCase = s:
    let parts = filter isString (split "[-_ ]+" s); in
    lib.toLower (head parts) + lib.concatMapStrings lib.toSentenceCase (builtins.tail parts);

  escape = chars: replaceStrings chars (map (c: "\\" + c) chars);
  escapeRegex = lib.escape (lib.stringToCharacters "\\[{()^$?*+|.");
  escapeNixString = s: lib.escape [ "$" ] (toJSON s);
  escapeShellArg = x:
    let s = toString x; in
    if match "[[:alnum:],._+:@%/-]+" s != null then s else "'${replaceStrings [ "'" ] [ "'\\''" ] s}'";
  escapeShellArgs = lib.concatMapStringsSep " " lib.escapeShellArg;
  escapeURL = s: throw "lib.escapeURL is not in the built-in evaluator";
  escapeXML = replaceStrings [ "\"" "'" "<" ">" "&" ] [ "&quot;" "&apos;" "&lt;" "&gt;" "&amp;" ];
  quote = s: "\"${s}\"";
  isValidPosixName = name: match "[a-zA-Z_][a-zA-Z0-9_]*" name != null;
  toShellVar = name: value:
    if builtins.isList value then "declare -a ${name}=(${lib.escapeShellArgs value})"
    else if builtins.isAttrs value && !(value ? outPath) then
      "declare -A ${name}=(${concatStringsSep " "
        (lib.mapAttrsToList (n: v: "[${lib.escapeShellArg n}]=${lib.escapeShellArg v}") value)})"
    else "${name}=${lib.escapeShellArg value}";
  toShellVars = vars: concatStringsSep "\n" (lib.mapAttrsToList lib.toShellVar vars);
  sanitizeDerivationName = s:
    let
      ok = concatStringsSep "-" (filter isString
        (split "[^[:alnum:]+._?=-]+" (builtins.unsafeDiscardStringContext s)));
    in
    if ok == "" then "unknown" else lib.removePrefix "." (substring 0 200 ok);

  toInt = s:
    let m = match "[[:space:]]*(-?)0*([0-9]+)[[:space:]]*" s; in
    if m == null then throw "lib.toInt: ${toJSON s} is not a whole number"
    else builtins.fromJSON (head m + elemAt m 1);
  toIntBase10 = lib.toInt;
  fixedWidthString = width: fill: s:
    let n = stringLength s; in
    if n >= width then s else fill + lib.fixedWidthString (width - stringLength fill) fill s;
  fixedWidthNumber = width: n: lib.fixedWidthString width "0" (toString n);
  boolToString = b: if b then "true" else "false";
  boolToYesNo = b: if b then "yes" else "no";
  floatToString = f: toJSON f;
  commonPrefixLength = a: b:
    let
      go = n:
        if n < stringLength a && n < stringLength b && substring n 1 a == substring n 1 b
        then go (n + 1) else n;
    in
    go 0;
  fileContents = path: lib.removeSuffix "\n" (builtins.readFile path);
  readPathsFromFile = root: file:
    map (p: root + "/${p}")
      (filter (p: p != "" && !(lib.hasPrefix "#" p)) (lib.splitString "\n" (builtins.readFile file)));
  normalizePath = s: concatStringsSep "/" (filter isString (split "/+" s));
  isStringLike = x: isString x || builtins.isPath x || x ? outPath || x ? __toString;
  isConvertibleWithToString = x:
    builtins.elem (builtins.typeOf x) [ "path" "string" "null" "int" "float" "bool" ]
    || builtins.isList x && builtins.all lib.isConvertibleWithToString x
    || x ? outPath || x ? __toString;
  isStorePath = x:
    lib.isStringLike x && match "${builtins.storeDir}/[^./][^/]*" (toString x) != null;

  versionOlder = a: b: builtins.compareVersions b a == 1;
  versionAtLeast = a: b: !(lib.versionOlder a b);
  getName = x: if isString x then (builtins.parseDrvName x).name
    else x.pname or (builtins.parseDrvName x.name).name;
  getVersion = x: if isString x then (builtins.parseDrvName x).version
    else x.version or (builtins.parseDrvName x.name).version;
  nameFromURL = url: sep: head (lib.splitString sep (baseNameOf url));
  versions = rec {
    splitVersion = builtins.splitVersion;
    major = v: elemAt (splitVersion v) 0;
    minor = v: elemAt (splitVersion v) 1;
    patch = v: elemAt (splitVersion v) 2;
    majorMinor = v: concatStringsSep "." (lib.take 2 (splitVersion v));
  };

  makeSearchPath = sub: paths: concatStringsSep ":" (map (p: "${p}/${sub}") (filter (p: p != null) paths));
  makeSearchPathOutput = output: sub: pkgs: lib.makeSearchPath sub (map (lib.getOutput output) pkgs);
  makeBinPath = lib.makeSearchPathOutput "bin" "bin";
  makeLibraryPath = lib.makeSearchPathOutput "lib" "lib";
  makeIncludePath = lib.makeSearchPathOutput "dev" "include";
  cmakeBool = name: v: "-D${name}:BOOL=${if v then "TRUE" else "FALSE"}";
  cmakeFeature = name: v: "-D${name}:STRING=${v}";
  mesonBool = name: v: "-D${name}=${lib.boolToString v}";
  enableFeature = on: name: "--${if on then "enable" else "disable"}-${name}";
  withFeature = on: name: "--${if on then "with" else "without"}-${name}";
}
