# Attribute sets. Names and meanings as in nixpkgs' `lib.attrsets`.
{ lib }:
let
  inherit (builtins) attrNames listToAttrs isAttrs head tail concatMap filter hasAttr foldl';
in
{
  inherit (builtins) attrNames attrValues listToAttrs isAttrs mapAttrs removeAttrs
    intersectAttrs catAttrs zipAttrsWith hasAttr getAttr;

  nameValuePair = name: value: { inherit name value; };
  genAttrs = names: f: listToAttrs (map (name: { inherit name; value = f name; }) names);
  genAttrs' = xs: f: listToAttrs (map f xs);
  mapAttrs' = f: set: listToAttrs (map (n: f n set.${n}) (attrNames set));
  mapAttrsToList = f: set: map (n: f n set.${n}) (attrNames set);
  attrsToList = lib.mapAttrsToList lib.nameValuePair;
  concatMapAttrs = f: set: foldl' (a: b: a // b) { } (lib.mapAttrsToList f set);
  mergeAttrsList = foldl' (a: b: a // b) { };
  mergeAttrs = a: b: a // b;

  filterAttrs = pred: set: removeAttrs set (filter (n: !(pred n set.${n})) (attrNames set));
  filterAttrsRecursive = pred: set:
    builtins.mapAttrs (_: v: if isAttrs v then lib.filterAttrsRecursive pred v else v)
      (lib.filterAttrs pred set);
  mapAttrsRecursive = lib.mapAttrsRecursiveCond (_: true);
  mapAttrsRecursiveCond = cond: f: set:
    let
      go = path: builtins.mapAttrs (n: v:
        if isAttrs v && cond v then go (path ++ [ n ]) v else f (path ++ [ n ]) v);
    in
    go [ ] set;
  mapAttrsToListRecursive = f: set: lib.collect (_: true) (lib.mapAttrsRecursive f set);
  mapCartesianProduct = f: sets: map f (lib.cartesianProduct sets);
  cartesianProduct = sets:
    foldl'
      (acc: name: concatMap (partial: map (v: partial // { ${name} = v; }) sets.${name}) acc)
      [ { } ]
      (attrNames sets);
  cartesianProductOfSets = lib.cartesianProduct;

  optionalAttrs = cond: set: if cond then set else { };
  recursiveUpdate = lib.recursiveUpdateUntil (_: l: r: !(isAttrs l && isAttrs r));
  recursiveUpdateUntil = stop: lhs: rhs:
    let
      go = path: l: r:
        l // builtins.mapAttrs
          (n: v:
            if l ? ${n} && !(stop (path ++ [ n ]) l.${n} v) then go (path ++ [ n ]) l.${n} v else v)
          r;
    in
    go [ ] lhs rhs;
  updateManyAttrsByPath = updates: set:
    foldl'
      (acc: u: lib.recursiveUpdate acc
        (lib.setAttrByPath u.path (u.update (lib.attrByPath u.path null acc))))
      set
      updates;

  attrByPath = path: default: set:
    if path == [ ] then set
    else if isAttrs set && hasAttr (head path) set
    then lib.attrByPath (tail path) default set.${head path}
    else default;
  hasAttrByPath = path: set:
    path == [ ]
    || isAttrs set && hasAttr (head path) set && lib.hasAttrByPath (tail path) set.${head path};
  getAttrFromPath = path: set:
    lib.attrByPath path (throw "lib.getAttrFromPath: there is no `${lib.concatStringsSep "." path}'") set;
  setAttrByPath = path: value:
    if path == [ ] then value else { ${head path} = lib.setAttrByPath (tail path) value; };
  getAttrs = names: set: lib.genAttrs names (n: set.${n});
  attrVals = names: set: map (n: set.${n}) names;
  collect = pred: x:
    if pred x then [ x ] else if isAttrs x then concatMap (lib.collect pred) (builtins.attrValues x) else [ ];
  foldlAttrs = f: init: set: foldl' (acc: n: f acc n set.${n}) init (attrNames set);
  foldAttrs = op: nul: sets:
    lib.genAttrs (lib.unique (concatMap attrNames sets))
      (n: lib.foldr op nul (builtins.catAttrs n sets));
  zipAttrs = builtins.zipAttrsWith (_: vs: vs);
  zipAttrsWithNames = names: f: sets: lib.genAttrs names (n: f n (builtins.catAttrs n sets));
  invertAttrs = set: lib.mapAttrs' (n: v: lib.nameValuePair v n) set;
  unionOfDisjoint = a: b:
    let both = attrNames (builtins.intersectAttrs a b); in
    if both == [ ] then a // b
    else throw "lib.unionOfDisjoint: both sides have `${builtins.concatStringsSep "', `" both}'";
  matchAttrs = pattern: set:
    builtins.all
      (n: set ? ${n} && (
        if isAttrs pattern.${n} && isAttrs set.${n} then lib.matchAttrs pattern.${n} set.${n}
        else pattern.${n} == set.${n}))
      (attrNames pattern);
  overrideExisting = old: new: builtins.mapAttrs (n: v: new.${n} or v) old;
  isDerivation = x: x.type or null == "derivation";
  toDerivation = path: { type = "derivation"; name = baseNameOf path; outPath = path; };
  recurseIntoAttrs = set: set // { recurseForDerivations = true; };
  dontRecurseIntoAttrs = set: set // { recurseForDerivations = false; };
  getOutput = output: pkg: pkg.${output} or pkg.out or pkg;
  getBin = lib.getOutput "bin";
  getLib = lib.getOutput "lib";
  getDev = lib.getOutput "dev";
  getMan = lib.getOutput "man";
  chooseDevOutputs = map lib.getDev;
}
