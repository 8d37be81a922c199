# How many slips lead from `a` to `b`: a letter added, dropped or changed, or two
# neighbours swapped. Only error messages use it ("did you mean …"), row by row.
a: b:
let
  inherit (builtins) substring stringLength genList elemAt foldl';
  min = x: y: if x < y then x else y;
  width = stringLength b;
  at = s: i: substring i 1 s;
  next = { before, row }: i:
    let
      cell = acc: j:
        let
          changed = elemAt row j + (if at b j == at a i then 0 else 1);
          best = min (min (elemAt acc j + 1) (elemAt row (j + 1) + 1)) changed;
          swapped = i > 0 && j > 0 && at a i == at b (j - 1) && at a (i - 1) == at b j;
        in
        acc ++ [ (if swapped then min best (elemAt before (j - 1) + 1) else best) ];
    in
    { before = row; row = foldl' cell [ (i + 1) ] (genList (j: j) width); };
  start = { before = [ ]; row = genList (j: j) (width + 1); };
in
elemAt (foldl' next start (genList (i: i) (stringLength a))).row width
