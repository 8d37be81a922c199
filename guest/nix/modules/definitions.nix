# From the definitions of one option to its value: resolve mkIf and mkMerge,
# keep those of the strongest priority, put them in order, check their type and
# let the type merge them.
#
# A definition is { file, pos, value } and, when it comes from a profile,
# `profilePriority`: profiles override plain definitions of single-valued
# options (a string, a number), but add to lists, lines and sets.
{ lib, errors }:
let
  inherit (builtins) isAttrs isBool concatMap map filter foldl' head length sort any;

  expand = loc: def:
    let v = def.value; in
    if !(isAttrs v && v ? _type) then [ def ]
    else if v._type == "if" then
      (if !(isBool v.condition) then
        throw "The condition of `mkIf' for option `${errors.showOption loc}' must be a boolean.${errors.showPlaces [ def ]}"
      else if v.condition then expand loc (def // { value = v.content; })
      else [ ])
    else if v._type == "merge" then
      concatMap (content: expand loc (def // { value = content; })) v.contents
    else if v._type == "override" then
      expand loc ({ inherit (v) priority; } // def // { value = v.content; })
    else if v._type == "order" then
      expand loc ({ order = v.priority; } // def // { value = v.content; })
    # A value that stands in for one written elsewhere (an option's older name).
    else if v._type == "place" then
      expand loc (def // { inherit (v) file pos; value = v.content; })
    else [ def ];

  priorityOf = type: def:
    def.priority or (if type.single or false then def.profilePriority or 100 else 100);

  keepStrongest = type: defs:
    let
      strongest = foldl' (p: d: lib.min p (priorityOf type d)) 9999 defs;
    in
    filter (d: priorityOf type d == strongest) defs;

  inOrder = defs:
    if any (d: d ? order) defs
    then sort (a: b: (a.order or 1000) < (b.order or 1000)) defs
    else defs;
in
rec {
  inherit expand;

  # { isDefined, defs, value } of one option or of one element of a set.
  evalDefs = loc: type: rawDefs:
    let
      expanded = concatMap (expand loc) rawDefs;
      defs =
        if expanded == [ ] || length expanded == 1 then expanded
        else inOrder (keepStrongest type expanded);
      wrong = filter (d: !(type.check d.value)) defs;
    in
    {
      isDefined = expanded != [ ];
      inherit defs;
      value =
        if wrong != [ ] then throw (errors.wrongType loc type wrong)
        else type.merge loc (map (d: removeAttrs d [ "priority" "order" ]) defs);
    };

  mergeOne = loc: defs:
    if length defs == 1 then (head defs).value else throw (errors.conflict loc defs);

  mergeEqual = loc: defs:
    let first = (head defs).value; in
    if length defs == 1 || builtins.all (d: d.value == first) defs then first
    else throw (errors.conflict loc defs);
}
