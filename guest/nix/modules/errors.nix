# The words of every complaint about a devenv.nix. A complaint names the option,
# says what is wrong, and gives file and line of each definition concerned as
# "In `FILE:LINE'"; the guest takes the first such place for the job page.
{ lib, home }:
let
  inherit (builtins) concatStringsSep match toJSON typeOf isString substring stringLength
    attrNames filter sort length head map replaceStrings;

  editDistance = import ../lib/edit-distance.nix;

  showName = n: if match "[a-zA-Z_][a-zA-Z0-9_'-]*" n != null then n else toJSON n;
  showOption = loc: concatStringsSep "." (map showName loc);

  # Helpers like genAttrs leave positions inside this evaluator; those say
  # nothing to the reader, so only places in the project's own files count.
  ours = file: lib.hasPrefix home (toString file);
  posOf = name: set: fallback:
    let pos = builtins.unsafeGetAttrPos name set; in
    if pos == null || ours pos.file then fallback else pos;

  showPlace = def:
    if def.pos or null != null then "${toString def.pos.file}:${toString def.pos.line}"
    else def.file;

  shorten = s: if stringLength s > 60 then substring 0 57 s + "..." else s;
  # Only what is safe to look at: a preview must not start another failure.
  preview = v:
    let t = typeOf v; in
    if t == "string" then shorten (toJSON (builtins.unsafeDiscardStringContext v))
    else if t == "path" then toString v
    else if t == "int" || t == "float" || t == "bool" || t == "null" then toJSON v
    else if t == "set" then
      (if v.type or null == "derivation" then "a package"
      else if v ? _type && v ? content then preview v.content
      else
        let names = attrNames v; in
        if names == [ ] then "an empty set"
        else "a set with ${shorten (concatStringsSep ", " (map showName names))}")
    else if t == "list" then (if v == [ ] then "an empty list" else "a list of ${toString (length v)}")
    else "a function";
  tryPreview = v:
    let r = builtins.tryEval (preview v); in
    if r.success then ": ${r.value}" else "";

  showDefs = lib.concatMapStrings (d: "\n- In `${showPlace d}'${tryPreview d.value}");
  showPlaces = lib.concatMapStrings (d: "\n- In `${showPlace d}'");

  # The nearest of `known` to `name`, if it is near enough to be a slip.
  nearest = name: known:
    let
      limit = lib.max 1 (stringLength name / 3);
      rated = filter (c: c.d <= limit)
        (map (n: { inherit n; d = editDistance (lib.toLower name) (lib.toLower n); })
          (filter (n: n != "_module" && mayBeNear (stringLength n - stringLength name)) known));
      mayBeNear = difference: difference <= limit && difference >= 0 - limit;
    in
    if rated == [ ] then null else (head (sort (a: b: a.d < b.d) rated)).n;
  didYouMean = name: known:
    let n = nearest name known; in
    if n == null then "" else " Did you mean `${n}'?";
in
{
  place = showPlace;
  inherit showOption showPlace posOf preview nearest didYouMean showDefs showPlaces;

  unknownOption = { loc, known, ... }@def:
    let
      group = lib.init loc;
      listing =
        if group != [ ] && known != [ ] && length known <= 30
          && nearest (lib.last loc) known == null
        then " `${showOption group}' has: ${concatStringsSep ", " (map showName known)}." else "";
    in
    "The option `${showOption loc}' does not exist.${didYouMean (lib.last loc) known}${listing}"
    + " Definition values:${showDefs [ def ]}";

  wrongType = loc: type: defs:
    "A definition for option `${showOption loc}' is not of type `${type.description}'."
    + " Definition values:${showDefs defs}";

  conflict = loc: defs:
    "The option `${showOption loc}' has conflicting definition values:${showDefs defs}\n"
    + "Remove one of them, or use `lib.mkForce value' or `lib.mkDefault value' to say which one wins.";

  notDefined = loc: parent:
    "The option `${showOption loc}' is needed, but has no value."
    + (if parent == [ ] then "" else " Its surroundings are defined here:${showPlaces parent}");

  notAGroup = loc: def:
    "The option `${showOption loc}' is a group of options and must be given as a set `{ … }'."
    + " Definition values:${showDefs [ def ]}";
}
