{
  env.A = "x"
  env.B = "y";
}
