# What a module writes around a value: conditions, priorities, order; and what
# declares an option. Smaller priority numbers win.
let
  mkOverride = priority: content: { _type = "override"; inherit priority content; };
  mkOrder = priority: content: { _type = "order"; inherit priority content; };
  mkOption = attrs: attrs // { _type = "option"; };
in
{
  inherit mkOverride mkOrder mkOption;
  mkIf = condition: content: { _type = "if"; inherit condition content; };
  mkMerge = contents: { _type = "merge"; inherit contents; };
  mkAssert = ok: message: content: if ok then content else throw message;

  mkForce = mkOverride 50;
  mkImageMediaOverride = mkOverride 60;
  mkVMOverride = mkOverride 10;
  mkDefault = mkOverride 1000;
  mkOptionDefault = mkOverride 1500;
  defaultOverridePriority = 100;

  mkBefore = mkOrder 500;
  mkAfter = mkOrder 1500;
  defaultOrderPriority = 1000;
  mkFixStrictness = x: x;

  isType = name: x: x._type or null == name;
  isOption = x: x._type or null == "option";
  literalExpression = text: { _type = "literalExpression"; inherit text; };
  literalExample = text: { _type = "literalExpression"; inherit text; };
  literalMD = text: { _type = "literalMD"; inherit text; };
  mdDoc = text: text;
}
