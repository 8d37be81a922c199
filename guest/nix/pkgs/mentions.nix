# Which packages a project's files mention: `pkgs.NAME` and the names within
# `with pkgs; [ … ]`. A set in Nix cannot answer for names that it does not have,
# and nixpkgs has a hundred thousand; so the few that a project asks for are
# looked up in its text, to be known as missing, and to say on which line.
#
# Only literal separators and short pieces are matched: Nix' regular expressions
# go one call deeper for every letter.
{ lib, files }:
let
  inherit (builtins) filter isString split head tail map concatMap substring readFile pathExists
    genericClosure foldl' length match;
  pieces = separator: text: filter isString (split separator text);
  upTo = separator: text: head (pieces separator text);

  dotted = text: filter (n: match "[a-zA-Z_].*" n != null) (pieces "\\." text);
  # "foo.bar.baz) x" → [ "foo" "bar" "baz" ]
  leading = text: dotted (upTo "[^a-zA-Z0-9_'.-]" (substring 0 120 text));

  selected = text: map leading (tail (pieces "pkgs\\." text));
  # Too much text does no harm: a name that nobody uses is never looked at. But
  # what `lib` has stays with `lib`, for files that say `with lib; with pkgs;`.
  listed = text: concatMap
    (after:
      let
        list = substring 0 8000 after;
        isList = match "[ \t\r\n]*" (upTo "\\[" list) != null;
      in
      if isList then
        filter (path: path != [ ] && !(lib ? ${head path}))
          (map dotted (pieces "[^a-zA-Z0-9_'.-]" (upTo "[]][ \t\r\n]*;" list)))
      else [ ])
    (tail (pieces "with pkgs;" text));

  # Files that a file imports, as far as it names them plainly.
  relative = text: upTo "[^a-zA-Z0-9_./-]" (substring 0 200 text);
  neighbours = { file, text, ... }: filter pathExists
    (map (name: dirOf file + "/${name}")
      (filter (lib.hasSuffix ".nix") (map relative (tail (pieces "[ (]\\./" text)))));
  item = file: { key = toString file; inherit file; text = readFile file; };
  read = genericClosure { startSet = map item files; operator = i: map item (neighbours i); };

  # Paths as a tree: { foo = { bar = { }; }; }
  add = tree: path:
    if path == [ ] then tree
    else tree // { ${head path} = add (tree.${head path} or { }) (tail path); };
in
{
  tree = foldl' add { } (concatMap (i: selected i.text ++ listed i.text) read);

  # "FILE:LINE" of the first mention of a package, or null.
  placeOf = name:
    let
      escaped = lib.escapeRegex name;
      end = "[^a-zA-Z0-9_'-]";
      at = separator: i:
        let found = pieces separator i.text; in
        if length found < 2 then [ ]
        else [ "${i.key}:${toString (length (pieces "\n" (head found)))}" ];
      # The character before a name in a list may be the end of the line above.
      inList = i:
        let found = split "([ \t\n(\\[])${escaped}${end}" i.text; in
        if length found < 2 then [ ]
        else [ "${i.key}:${toString (length (pieces "\n" (head found + head (builtins.elemAt found 1))))}" ];
      places = concatMap (at "pkgs\\.${escaped}${end}") read ++ concatMap inList read;
    in
    if places == [ ] then null else head places;
}
