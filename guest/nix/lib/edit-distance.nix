# Levenshtein distance: how many letters to add, drop or change to get from `a`
# to `b`. Only error messages use it ("did you mean …"), row by row.
a: b:
let
  inherit (builtins) substring stringLength genList elemAt foldl';
  min = x: y: if x < y then x else y;
  width = stringLength b;
  nextRow = row: i:
    let
      char = substring i 1 a;
      step = acc: j:
        let
          left = elemAt acc j;
          diagonal = elemAt row j + (if substring j 1 b == char then 0 else 1);
        in
        acc ++ [ (min (min (left + 1) (elemAt row (j + 1) + 1)) diagonal) ];
    in
    foldl' step [ (i + 1) ] (genList (j: j) width);
in
elemAt (foldl' nextRow (genList (j: j) (width + 1)) (genList (i: i) (stringLength a))) width
