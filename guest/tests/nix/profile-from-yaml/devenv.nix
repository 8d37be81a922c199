{
  profiles.small.module.env.SIZE = "small";
}
