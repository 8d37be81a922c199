{
  env.TOP = "top";
}
