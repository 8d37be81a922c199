{
  scripts.hello.description = "says nothing";
}
