# Option types. A type has a description for messages, a shallow `check` for one
# definition, and a `merge` of all definitions. `single` marks those that hold
# one value, which a profile may override (see definitions.nix).
{ lib, errors, definitions, evalSubmodule }:
let
  inherit (builtins) isString isInt isFloat isBool isAttrs isList isPath isFunction elem
    concatStringsSep concatMap map all any head length match mapAttrs filter attrNames
    foldl' toJSON;
  inherit (definitions) evalDefs mergeOne mergeEqual;

  mkOptionType = { name, description ? name, check ? (_: true), merge ? mergeEqual, ... }@t:
    { _type = "option-type"; inherit name description check merge; } // t;
  scalar = name: description: check: mkOptionType { inherit name description check; single = true; };
  isDrv = x: isAttrs x && x.type or null == "derivation";
  isPlainSet = x: isAttrs x && !(isDrv x);
  inRange = lo: hi: x: isInt x && x >= lo && x <= hi;
  intBetween = lo: hi:
    scalar "int" "integer between ${toString lo} and ${toString hi} (both inclusive)" (inRange lo hi);

  separated = sep: mkOptionType {
    name = "separatedString";
    description = if sep == "\n" then "strings concatenated with \"\\n\"" else "strings concatenated with ${toJSON sep}";
    check = isString;
    merge = _: defs: concatStringsSep sep (map (d: d.value) defs);
  };

  # All definitions of each name in sets of definitions, with the place of each.
  byName = defs:
    mapAttrs
      (n: _: concatMap
        (d: if d.value ? ${n} then [ (d // { value = d.value.${n}; pos = errors.posOf n d.value d.pos; }) ] else [ ])
        defs)
      (foldl' (acc: d: acc // d.value) { } defs);

  attrsOfWith = lazy: elemType: mkOptionType {
    name = if lazy then "lazyAttrsOf" else "attrsOf";
    description = "attribute set of ${elemType.description}";
    check = isPlainSet;
    inherit elemType;
    merge = loc: defs:
      let
        evaluated = mapAttrs (n: evalDefs (loc ++ [ n ]) elemType) (byName defs);
        absent = filter (n: !evaluated.${n}.isDefined) (attrNames evaluated);
      in
      mapAttrs
        (n: e: if e.isDefined then e.value else elemType.emptyValue or (throw (errors.notDefined (loc ++ [ n ]) defs)))
        (if lazy then evaluated else removeAttrs evaluated absent);
    emptyValue = { };
  };

  types = {
    inherit mkOptionType;
    isOptionType = x: x._type or null == "option-type";

    unspecified = mkOptionType {
      name = "unspecified";
      description = "unspecified value";
      merge = loc: defs: if length defs == 1 then (head defs).value else types.anything.merge loc defs;
    };
    raw = mkOptionType { name = "raw"; description = "raw value"; merge = mergeOne; };
    optionType = mkOptionType { name = "optionType"; check = types.isOptionType; merge = mergeOne; };
    anything = mkOptionType {
      name = "anything";
      single = true;
      merge = loc: defs:
        if length defs > 1 && all (d: isPlainSet d.value) defs
          || length defs == 1 && isPlainSet (head defs).value
        then (types.lazyAttrsOf types.anything).merge loc defs
        else if length defs > 1 && any (d: isFunction d.value) defs then throw (errors.conflict loc defs)
        else mergeEqual loc defs;
    };

    bool = scalar "bool" "boolean" isBool;
    boolByOr = mkOptionType {
      name = "boolByOr";
      description = "boolean (merged using or)";
      check = isBool;
      merge = _: any (d: d.value);
    };
    int = scalar "int" "signed integer" isInt;
    float = scalar "float" "floating point number" isFloat;
    number = scalar "number" "number" (x: isInt x || isFloat x);
    numbers = { nonnegative = scalar "number" "nonnegative number" (x: (isInt x || isFloat x) && x >= 0); positive = scalar "number" "positive number" (x: (isInt x || isFloat x) && x > 0); };
    ints = {
      between = intBetween;
      unsigned = scalar "int" "unsigned integer, meaning >=0" (x: isInt x && x >= 0);
      positive = scalar "int" "positive integer, meaning >0" (x: isInt x && x > 0);
      u8 = intBetween 0 255;
      u16 = intBetween 0 65535;
      u32 = intBetween 0 4294967295;
      s8 = intBetween (-128) 127;
      s16 = intBetween (-32768) 32767;
      s32 = intBetween (-2147483648) 2147483647;
    };
    port = scalar "int" "port number (0 to 65535)" (inRange 0 65535);

    str = scalar "str" "string" isString;
    nonEmptyStr = scalar "str" "non-empty string" (x: isString x && match "[ \t\n]*" x == null);
    singleLineStr = scalar "str" "single-line string" (x: isString x && !(lib.hasInfix "\n" x));
    passwdEntry = elemType: elemType;
    strMatching = pattern:
      scalar "str" "string matching the pattern ${pattern}" (x: isString x && match pattern x != null);
    lines = separated "\n";
    commas = separated ",";
    envVar = separated ":";
    separatedString = separated;
    string = separated "";

    path = scalar "path" "absolute path" (x:
      (isString x || isPath x || x ? outPath || x ? __toString) && lib.hasPrefix "/" (toString x));
    pathInStore = scalar "path" "path in the Nix store" lib.isStorePath;
    package = mkOptionType {
      name = "package";
      single = true;
      check = x: isDrv x || lib.isStorePath x;
      merge = loc: defs:
        let x = mergeOne loc defs; in
        if isDrv x then x else lib.toDerivation x;
    };
    shellPackage = types.package;
    pkgs = types.raw // { description = "package set"; check = isAttrs; };

    attrs = mkOptionType {
      name = "attrs";
      description = "attribute set";
      check = isAttrs;
      merge = _: foldl' (acc: d: acc // d.value) { };
      emptyValue = { };
    };
    attrsOf = attrsOfWith false;
    lazyAttrsOf = attrsOfWith true;
    attrsWith = { elemType, lazy ? false, placeholder ? "name" }: attrsOfWith lazy elemType;

    listOf = elemType: mkOptionType {
      name = "listOf";
      description = "list of ${elemType.description}";
      check = isList;
      inherit elemType;
      emptyValue = [ ];
      merge = loc: defs:
        let
          entries = d: lib.imap1
            (n: v: evalDefs (loc ++ [ "[entry ${toString n}]" ]) elemType [ (d // { value = v; }) ])
            d.value;
        in
        map (e: e.value) (filter (e: e.isDefined) (concatMap entries defs));
    };
    nonEmptyListOf = elemType: types.listOf elemType // {
      description = "non-empty list of ${elemType.description}";
      check = x: isList x && x != [ ];
    };

    nullOr = elemType: mkOptionType {
      name = "nullOr";
      description = "null or ${elemType.description}";
      check = x: x == null || elemType.check x;
      single = elemType.single or false;
      inherit elemType;
      emptyValue = null;
      merge = loc: defs:
        let nulls = filter (d: d.value == null) defs; in
        if nulls == [ ] then elemType.merge loc defs
        else if length nulls == length defs then null
        else throw (errors.conflict loc defs);
    };
    enum = values: scalar "enum"
      (if values == [ ] then "impossible (empty enum)" else "one of ${concatStringsSep ", " (map errors.preview values)}")
      (x: elem x values);
    either = a: b: mkOptionType {
      name = "either";
      description = "${a.description} or ${b.description}";
      check = x: a.check x || b.check x;
      single = a.single or false && b.single or false;
      merge = loc: defs:
        if all (d: a.check d.value) defs then a.merge loc defs
        else if all (d: b.check d.value) defs then b.merge loc defs
        else throw (errors.conflict loc defs);
    };
    oneOf = ts: foldl' types.either (head ts) (builtins.tail ts);
    uniq = t: t // { merge = loc: defs: t.merge loc [{ inherit (head defs) file pos; value = mergeOne loc defs; }]; };
    unique = { message }: types.uniq;
    coercedTo = from: convert: to: mkOptionType {
      name = "coercedTo";
      description = "${to.description} or ${from.description} convertible to it";
      check = x: from.check x && to.check (convert x) || to.check x;
      single = to.single or false;
      merge = loc: defs:
        to.merge loc (map (d: if from.check d.value then d // { value = convert d.value; } else d) defs);
    };
    addCheck = t: check: t // { check = x: t.check x && check x; };
    functionTo = t: mkOptionType {
      name = "functionTo";
      description = "function that evaluates to ${t.description}";
      check = lib.isFunction;
      merge = loc: defs: x: (evalDefs loc t (map (d: d // { value = d.value x; }) defs)).value;
    };
    deferredModule = mkOptionType {
      name = "deferredModule";
      description = "module";
      check = x: isAttrs x || lib.isFunction x || isPath x || isString x;
      merge = _: defs: { imports = map (d: { _file = d.file; imports = [ d.value ]; }) defs; };
    };

    submodule = module: types.submoduleWith { modules = lib.toList module; };
    submoduleWith = { modules, specialArgs ? { }, shorthandOnlyDefinesConfig ? true, ... }: mkOptionType {
      name = "submodule";
      description = "submodule";
      check = x: isPlainSet x || lib.isFunction x || isPath x;
      emptyValue = { };
      merge = loc: defs: evalSubmodule { inherit loc defs modules specialArgs; };
    };
    attrTag = _: throw "types.attrTag is not in the built-in evaluator";
  };
in
types
