{
  tasks.build.exec = "true";
}
