# A website from plain text: built as an output, checked as a test, and built
# differently when the profile `release` is asked for.
{ pkgs, lib, config, ... }:
let
  pages = lib.filterAttrs (name: kind: kind == "regular" && lib.hasSuffix ".txt" name)
    (builtins.readDir ./pages);

  page = file:
    let name = lib.removeSuffix ".txt" file; in
    pkgs.writeTextDir "${name}.html" ''
      <!doctype html>
      <title>${config.env.SITE_TITLE}: ${name}</title>
      <pre>${lib.escapeXML (builtins.readFile (./pages + "/${file}"))}</pre>
    '';
in
{
  env.SITE_TITLE = "Draft";

  # What a run keeps: `devenv build outputs.site` makes the same at home.
  outputs.site = pkgs.symlinkJoin {
    name = "site";
    paths = map page (lib.attrNames pages);
  };

  tasks."site:links" = {
    description = "Every page that is linked must exist";
    exec = ''
      while read -r word target; do
        [ "$word" = "see" ] || continue
        test -e "pages/$target.txt" || { echo "no such page: $target" >&2; exit 1; }
      done < <(cat pages/*.txt)
      echo "${toString (lib.length (lib.attrNames pages))} pages, all links good"
    '';
    before = [ "devenv:enterTest" ];
  };

  enterTest = ''
    test -n "$SITE_TITLE"
  '';

  profiles.release.module = {
    env.SITE_TITLE = "Handbook";
    # A release must say which commit it is of.
    enterTest = ''
      git rev-parse --verify HEAD
    '';
  };
}
