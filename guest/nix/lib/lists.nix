# Lists. Names and meanings as in nixpkgs' `lib.lists`, so that a devenv.nix
# reads the same here and there.
{ lib }:
let
  inherit (builtins) elemAt length genList foldl' filter concatLists concatMap elem sort isList;
in
{
  inherit (builtins) elemAt length genList foldl' filter concatLists concatMap elem sort
    isList all any head tail map groupBy partition;

  singleton = x: [ x ];
  optional = cond: x: if cond then [ x ] else [ ];
  optionals = cond: xs: if cond then xs else [ ];
  toList = x: if isList x then x else [ x ];

  foldr = op: nul: list:
    let
      len = length list;
      go = n: if n == len then nul else op (elemAt list n) (go (n + 1));
    in
    go 0;
  fold = lib.foldr;
  foldl = op: nul: list:
    let
      go = n: if n == -1 then nul else op (go (n - 1)) (elemAt list n);
    in
    go (length list - 1);

  imap0 = f: list: genList (n: f n (elemAt list n)) (length list);
  imap1 = f: list: genList (n: f (n + 1) (elemAt list n)) (length list);
  forEach = xs: f: map f xs;
  range = first: last: if first > last then [ ] else genList (n: first + n) (last - first + 1);
  replicate = n: x: genList (_: x) n;

  flatten = x: if isList x then concatMap lib.flatten x else [ x ];
  unique = foldl' (acc: x: if elem x acc then acc else acc ++ [ x ]) [ ];
  uniqueStrings = list: builtins.attrNames (builtins.listToAttrs (map (x: { name = x; value = null; }) list));
  allUnique = list: length (lib.unique list) == length list;
  remove = x: filter (y: y != x);
  subtractLists = drop: filter (x: !(elem x drop));
  intersectLists = keep: filter (x: elem x keep);
  mutuallyExclusive = a: b: !(builtins.any (x: elem x a) b);

  findFirst = pred: default: list:
    let found = filter pred list; in
    if found == [ ] then default else builtins.head found;
  findSingle = pred: none: many: list:
    let found = filter pred list; n = length found; in
    if n == 0 then none else if n == 1 then builtins.head found else many;
  count = pred: list: length (filter pred list);

  last = list:
    if list == [ ] then throw "lib.last: the list is empty" else elemAt list (length list - 1);
  init = list:
    if list == [ ] then throw "lib.init: the list is empty" else lib.take (length list - 1) list;
  take = n: list: genList (elemAt list) (lib.min (lib.max n 0) (length list));
  drop = n: list:
    let from = lib.min (lib.max n 0) (length list); in
    genList (i: elemAt list (from + i)) (length list - from);
  takeEnd = n: list: lib.drop (length list - n) list;
  dropEnd = n: list: lib.take (length list - n) list;
  sublist = start: count: list: lib.take count (lib.drop start list);
  reverseList = list:
    let n = length list; in
    genList (i: elemAt list (n - 1 - i)) n;

  zipLists = lib.zipListsWith (fst: snd: { inherit fst snd; });
  zipListsWith = f: a: b:
    genList (n: f (elemAt a n) (elemAt b n)) (lib.min (length a) (length b));
  crossLists = f: foldl' (fs: args: concatMap (g: map g args) fs) [ f ];

  naturalSort = sort lib.versionOlder;
  sortOn = key: sort (a: b: key a < key b);
  compareLists = cmp: a: b:
    if a == [ ] then (if b == [ ] then 0 else -1)
    else if b == [ ] then 1
    else
      let c = cmp (builtins.head a) (builtins.head b); in
      if c == 0 then lib.compareLists cmp (builtins.tail a) (builtins.tail b) else c;
}
