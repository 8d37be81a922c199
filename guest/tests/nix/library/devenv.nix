# Every line says what a function of `lib` must give; a wrong one fails as an
# assertion that names it.
{ lib, pkgs, ... }:
let
  checks = with lib; {
    optional = optional true 1 ++ optional false 2 == [ 1 ];
    optionals = optionals false [ 1 ] == [ ];
    optionalAttrs = optionalAttrs true { a = 1; } == { a = 1; };
    mapAttrs' = mapAttrs' (n: v: nameValuePair "x-${n}" (v + 1)) { a = 1; } == { x-a = 2; };
    mapAttrsToList = mapAttrsToList (n: v: n + v) { a = "1"; b = "2"; } == [ "a1" "b2" ];
    filterAttrs = filterAttrs (_: v: v > 1) { a = 1; b = 2; } == { b = 2; };
    genAttrs = genAttrs [ "a" "b" ] (n: n + n) == { a = "aa"; b = "bb"; };
    recursiveUpdate = recursiveUpdate { a = { b = 1; c = 2; }; } { a.b = 3; } == { a = { b = 3; c = 2; }; };
    attrByPath = attrByPath [ "a" "b" ] 0 { a.b = 1; } == 1 && attrByPath [ "a" "x" ] 0 { a.b = 1; } == 0;
    setAttrByPath = setAttrByPath [ "a" "b" ] 1 == { a.b = 1; };
    cartesianProduct = cartesianProduct { a = [ 1 2 ]; b = [ 3 ]; } == [ { a = 1; b = 3; } { a = 2; b = 3; } ];
    zipAttrsWith = zipAttrsWith (_: vs: vs) [ { a = 1; } { a = 2; } ] == { a = [ 1 2 ]; };
    foldlAttrs = foldlAttrs (acc: n: v: acc + n + v) "" { a = "1"; b = "2"; } == "a1b2";
    concatMapAttrs = concatMapAttrs (n: v: { "${n}${n}" = v; }) { a = 1; } == { aa = 1; };
    invert = concatStringsSep "," (attrNames (invertAttrs { a = "x"; })) == "x";
    concatMapStringsSep = concatMapStringsSep ", " toString [ 1 2 ] == "1, 2";
    concatLines = concatLines [ "a" "b" ] == "a\nb\n";
    splitString = splitString "." "a.b.c" == [ "a" "b" "c" ];
    prefixes = hasPrefix "ab" "abc" && !hasPrefix "b" "abc" && hasSuffix "bc" "abc" && !hasSuffix "abcd" "abc";
    infix = hasInfix "b" "abc" && !hasInfix "x" "abc";
    remove = removePrefix "a" "abc" == "bc" && removeSuffix "c" "abc" == "ab";
    case = toUpper "aB1" == "AB1" && toLower "aB1" == "ab1" && toSentenceCase "abc" == "Abc";
    trim = trim "  a b \n" == "a b" && trim "" == "" && trim "  " == "";
    escapeShellArg = escapeShellArg "a b'c" == "'a b'\\''c'" && escapeShellArg "a/b" == "a/b";
    escapeShellArgs = escapeShellArgs [ "a" "b c" ] == "a 'b c'";
    toInt = toInt "042" == 42 && toInt "-7" == -7 && toInt "0" == 0;
    numbers = fixedWidthNumber 4 42 == "0042" && max 1 2 == 2 && mod 7 3 == 1;
    versions = versionAtLeast "1.10" "1.9" && versionOlder "1.9" "1.10" && versions.major "1.2.3" == "1" && versions.majorMinor "1.2.3" == "1.2";
    flatten = flatten [ 1 [ 2 [ 3 ] ] ] == [ 1 2 3 ];
    unique = unique [ 1 2 1 ] == [ 1 2 ];
    range = range 1 3 == [ 1 2 3 ] && range 3 1 == [ ];
    take = take 2 [ 1 2 3 ] == [ 1 2 ] && drop 2 [ 1 2 3 ] == [ 3 ] && last [ 1 2 ] == 2 && init [ 1 2 ] == [ 1 ];
    imap = imap0 (i: x: i + x) [ 1 1 ] == [ 1 2 ] && imap1 (i: x: i + x) [ 1 1 ] == [ 2 3 ];
    folds = foldr (a: b: a + b) "" [ "a" "b" ] == "ab" && foldl' (a: b: a + b) 0 [ 1 2 ] == 3;
    reverse = reverseList [ 1 2 3 ] == [ 3 2 1 ];
    findFirst = findFirst (x: x > 1) 0 [ 1 2 3 ] == 2 && findFirst (x: x > 9) 0 [ 1 ] == 0;
    zipLists = zipListsWith (a: b: a + b) [ 1 2 ] [ 3 4 5 ] == [ 4 6 ];
    sortOn = sortOn (x: -x) [ 1 3 2 ] == [ 3 2 1 ];
    sublist = sublist 1 2 [ 1 2 3 4 ] == [ 2 3 ];
    pipe = pipe 1 [ (x: x + 1) toString ] == "2";
    toKeyValue = generators.toKeyValue { } { a = 1; b = true; } == "a=1\nb=true\n";
    toINI = generators.toINI { } { s.a = 1; } == "[s]\na=1\n";
    getExe = getExe pkgs.git == "/usr/bin/git" && getExe' pkgs.git "git-lfs" == "/usr/bin/git-lfs";
    makeBinPath = makeBinPath [ pkgs.git "/opt/x" ] == "/usr/bin:/opt/x/bin";
    toShellVars = toShellVars { a = "x y"; b = [ "1" "2 3" ]; } == "a='x y'\nb=(1 '2 3')" || toShellVars { a = "x y"; } == "a='x y'";
    fileContents = fileContents ./word.txt == "word" && importJSON ./data.json == { a = 1; };
    namespaces = strings.hasPrefix "a" "ab" && lists.head [ 1 ] == 1 && attrsets.attrNames { a = 1; } == [ "a" ];
    fix = (makeExtensible (self: { a = 1; b = self.a + 1; })).b == 2;
    callPackageWith = callPackageWith { a = 1; b = 2; } ({ a, c ? 0 }: a + c) { c = 3; } == 4;
    isDerivation = isDerivation pkgs.git && !isDerivation { };
    evalModules = (evalModules { modules = [ { options.x = mkOption { type = types.int; default = 3; }; } ]; }).config.x == 3;
  };
in
{
  assertions = lib.mapAttrsToList (name: assertion: { inherit assertion; message = "lib: ${name}"; }) checks;
  enterTest = "${toString (lib.length (lib.attrNames checks))} checks";
}
