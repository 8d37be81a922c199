{
  env.X = throw "the project says no";
}
