{
  env.FINE = "x";
  tasks."app:x".exec =
    42;
}
