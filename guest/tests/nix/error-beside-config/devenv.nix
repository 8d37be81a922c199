{
  config.name = "x";
  env.A = "lost";
}
