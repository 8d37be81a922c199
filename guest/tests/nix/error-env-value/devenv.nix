{
  env.A = "x";
  env.BAD = { nested = true; };
}
