{
  profiles.a.extends = [ "b" ];
  profiles.b.extends = [ "a" ];
}
