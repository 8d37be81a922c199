# The module system: a list of modules in, one configuration out.
#
# Everything is per option and lazy, so that `config` may be used anywhere a
# value is computed, and an option that nobody reads costs next to nothing:
# a job pays for this evaluation on a slow, freshly booted machine.
{ lib, errors, definitions, getTypes }:
let
  inherit (builtins) isAttrs isPath isString mapAttrs attrNames concatMap map filter head length
    foldl' removeAttrs zipAttrsWith;
  inherit (errors) showOption;
  structural = [ "imports" "options" "config" "_file" "_class" "key" "freeformType" "disabledModules" "meta" "require" ];
  isOption = x: x._type or null == "option";

  # ---- Collecting -------------------------------------------------------------

  # Call a module function. An argument that is neither built in nor in
  # `_module.args` fails only when it is used, and then by name.
  callModule = args: file: f:
    let
      named = lib.functionArgs f;
      unknown = filter (n: !(args ? ${n}) && !named.${n}) (attrNames named);
      extra = lib.genAttrs unknown (n: args.config._module.args.${n} or (throw
        "`${file}' asks for the module argument `${n}', which the built-in evaluator does not have. It has: ${builtins.concatStringsSep ", " (filter (a: a != "specialArgs") (attrNames args))}."));
    in
    f (args // extra);

  load = args: file: module:
    let m = if lib.isFunction module then callModule args file module else module; in
    if !(isAttrs m) then
      throw "`${file}' must be a set of options, or a function that returns one, but it is ${errors.preview m}."
    else if m ? _type then { imports = [ ]; options = { }; inherit file; config = m; }
    else if m ? config || m ? options then
      let stray = attrNames (removeAttrs m structural); in
      if stray != [ ] then
        throw ("`${file}' has both a `${if m ? config then "config" else "options"}' section and `${head stray}' beside it."
          + " Move `${head stray}' into `config = { … };'.${errors.showPlaces [ { inherit file; pos = errors.posOf (head stray) m null; } ]}")
      else {
        imports = (m.imports or [ ]) ++ (m.require or [ ]);
        options = m.options or { };
        config = m.config or { };
        freeformType = m.freeformType or null;
        file = m._file or file;
      }
    else {
      imports = (m.imports or [ ]) ++ (m.require or [ ]);
      options = { };
      config = removeAttrs m structural;
      freeformType = m.freeformType or null;
      file = m._file or file;
    };

  # A module as named in a list, before it is read: a key (a file imported twice
  # counts once), the file it is blamed on, and the thing itself.
  toItem = args: parent: n: m:
    let
      isFile = isPath m || isString m;
      path = toString m;
    in
    if isFile then {
      key = path;
      module = load args path (
        if builtins.pathExists m then import m
        else throw "`${parent.file}' imports `${path}', which does not exist.");
    }
    else {
      key = m.key or "${parent.key}:${toString n}";
      module = load args parent.file m;
    };

  # Breadth first, then reversed: what a module imports comes before it, as in
  # nixpkgs, so that lines and lists end up in the same order.
  collect = args: file: modules:
    map (item: item.module) (lib.reverseList (builtins.genericClosure {
      startSet = lib.imap1 (toItem args { inherit file; key = file; }) modules;
      operator = item:
        lib.imap1 (toItem args { inherit (item) key; inherit (item.module) file; }) item.module.imports;
    }));

  # ---- Merging ----------------------------------------------------------------

  # Sets of definitions with mkIf and the like pushed down to each value, so that
  # which names are defined never depends on a condition.
  pushDown = loc: def:
    let
      v = def.value;
      wrapped = keep: map
        (d: d // { wrap = x: keep (d.wrap x); })
        (pushDown loc (def // { value = v.content; }));
    in
    if !(isAttrs v) then throw (errors.notAGroup loc def)
    else if !(v ? _type) then [ ({ wrap = x: x; } // def) ]
    else if v._type == "merge" then concatMap (c: pushDown loc (def // { value = c; })) v.contents
    else if v._type == "if" then wrapped (content: { _type = "if"; inherit (v) condition; inherit content; })
    else if v._type == "override" || v._type == "order" then
      wrapped (content: { inherit (v) _type priority; inherit content; })
    else throw (errors.notAGroup loc def);

  defsOf = name: sets: concatMap
    (d:
      if d.value ? ${name} then [ (removeAttrs d [ "wrap" ] // {
        value = d.wrap d.value.${name};
        pos = errors.posOf name d.value d.pos;
      }) ] else [ ])
    sets;

  # decls: [{ file, options }], defs: [{ file, pos, value }] of one group.
  mergeTree = loc: decls: defs:
    let
      sets = concatMap (pushDown loc) defs;
      declared = zipAttrsWith (_: ds: ds)
        (map (d: mapAttrs (_: options: { inherit (d) file; inherit options; }) d.options) decls);
      nodes = mapAttrs
        (name: ds:
          let
            here = loc ++ [ name ];
            defs = defsOf name sets;
            leaves = filter (d: isOption d.options) ds;
          in
          if leaves == [ ] then mergeTree here ds defs // { isGroup = true; }
          else if length ds > 1 then
            throw "The option `${showOption here}' is declared more than once:${errors.showPlaces (map (d: d // { pos = null; }) ds)}"
          else evalOption here (head ds) defs sets)
        declared;
      strays = concatMap
        (d: map
          (n: {
            loc = loc ++ [ n ];
            known = attrNames declared;
            inherit (d) file;
            pos = errors.posOf n d.value d.pos;
            value = d.value.${n};
          })
          (attrNames (removeAttrs d.value (attrNames declared))))
        sets;
    in
    {
      inherit sets nodes;
      declaredNames = attrNames declared;
      options = mapAttrs (_: n: if n ? isGroup then n.options else n) nodes;
      config = mapAttrs (_: n: if n ? isGroup then n.config else n.value) nodes;
      inherit strays;
      deepStrays = strays ++ concatMap (n: if n ? isGroup then n.deepStrays else [ ]) (builtins.attrValues nodes);
      nestedStrays = concatMap (n: if n ? isGroup then n.deepStrays else [ ]) (builtins.attrValues nodes);
    };

  evalOption = loc: decl: defs: surroundings:
    let
      option = decl.options;
      type = option.type or (getTypes { }).unspecified;
      default = lib.optional (option ? default) {
        inherit (decl) file;
        pos = null;
        value = option.default;
        priority = 1500;
      };
      result = definitions.evalDefs loc type (defs ++ default);
      value =
        if result.isDefined then result.value
        else type.emptyValue or (throw (errors.notDefined loc surroundings));
    in
    option // {
      inherit loc;
      inherit (result) isDefined;
      definitions = map (d: d.value) result.defs;
      definitionsWithLocations = result.defs;
      files = map (d: d.file) result.defs;
      # Whether the project itself says anything about it.
      isSet = defs != [ ];
      rawDefs = defs;
      value =
        if option.readOnly or false && length defs > 1 then
          throw "The option `${showOption loc}' is read-only and cannot be set:${errors.showDefs defs}"
        else (option.apply or (x: x)) value;
    };

  # Names that no option declares go to the freeform type, if there is one.
  withFreeform = loc: freeformType: tree:
    if freeformType == null then tree
    else
      let
        rest = map
          (d: removeAttrs d [ "wrap" ] // { value = d.wrap (removeAttrs d.value tree.declaredNames); })
          tree.sets;
        free = (definitions.evalDefs loc freeformType rest).value;
      in
      tree // {
        config = free // tree.config;
        deepStrays = tree.nestedStrays;
      };

  finish = loc: tree:
    tree // {
      checked =
        if tree.deepStrays == [ ] then true
        else throw (builtins.concatStringsSep "\n" (map errors.unknownOption tree.deepStrays));
    };

  freeformOf = modules: foldl' (acc: m: if m.freeformType or null != null then m.freeformType else acc) null modules;
  declsOf = modules: map (m: { inherit (m) file options; }) (filter (m: m.options != { }) modules);
  defsFrom = modules: map (m: { inherit (m) file; pos = null; value = m.config; } // (if m ? profilePriority then { inherit (m) profilePriority; } else { })) modules;
in
{
  # modules: in order, later ones stronger only by priority.
  # profileModules: [{ module, priority }], see definitions.nix.
  evalModules = { modules, specialArgs ? { }, file ? "<evaluator>", profileModules ? [ ] }:
    let
      args = { inherit lib; inherit (tree) config options; } // specialArgs;
      fromProfiles = concatMap
        (p: map (m: m // { profilePriority = p.priority; }) (collect args p.file [ p.module ]))
        profileModules;
      loaded = lib.reverseList fromProfiles ++ collect args file modules;
      tree = finish [ ] (withFreeform [ ] (freeformOf loaded) (mergeTree [ ] (declsOf loaded) (defsFrom loaded)));
    in
    tree;

  # The value of an option of type submodule.
  evalSubmodule = { loc, defs, modules, specialArgs }:
    let
      args = { inherit lib; inherit (tree) config options; name = lib.last loc; } // specialArgs;
      declared = collect args "<evaluator>" modules;
      # A definition is plain configuration, unless it is a function or a file.
      own = concatMap
        (d:
          if isAttrs d.value && !(lib.isFunction d.value) && !(d.value ? imports)
          then [ { inherit d; } ]
          else map (m: { inherit m d; }) (collect args d.file [ d.value ]))
        defs;
      extra = concatMap (o: if o ? m then [ o.m ] else [ ]) own;
      ownDefs = map (o: if o ? m then o.d // { value = o.m.config; } else o.d) own;
      tree = finish loc (withFreeform loc (freeformOf (declared ++ extra))
        (mergeTree loc (declsOf (declared ++ extra)) (ownDefs ++ defsFrom declared)));
    in
    builtins.seq tree.checked tree.config;
}
