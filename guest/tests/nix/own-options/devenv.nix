{ lib, config, options, ... }:
let
  inherit (lib) mkOption types;
  site = { name, config, ... }: {
    options = {
      host = mkOption { type = types.str; default = "${name}.example"; };
      port = mkOption { type = types.port; default = 80; };
      url = mkOption { type = types.str; readOnly = true; default = "http://${config.host}:${toString config.port}"; };
      kind = mkOption { type = types.enum [ "static" "dynamic" ]; default = "static"; };
      extra = mkOption { type = types.nullOr (types.either types.int types.str); default = null; };
    };
  };
in
{
  options = {
    sites = mkOption { type = types.attrsOf (types.submodule site); default = { }; };
    tags = mkOption { type = types.listOf types.str; default = [ ]; apply = lib.unique; };
    deep.setting = mkOption { type = types.coercedTo types.int toString types.str; default = "0"; };
    verbose = lib.mkEnableOption "talking";
    handler = mkOption { type = types.functionTo types.str; };
  };
  config = {
    sites.www = { port = 8080; extra = 3; };
    sites.docs.kind = "dynamic";
    tags = lib.mkMerge [ [ "a" "b" ] (lib.mkIf config.verbose [ "never" ]) [ "b" "c" ] ];
    deep.setting = 42;
    handler = x: "handled ${x}";
    env = {
      WWW = config.sites.www.url;
      DOCS = "${config.sites.docs.url} ${config.sites.docs.kind}";
      TAGS = config.tags;
      SETTING = config.deep.setting;
      HANDLED = config.handler "it";
      DECLARED = options ? tags && !(options ? nothing);
    };
  };
}
