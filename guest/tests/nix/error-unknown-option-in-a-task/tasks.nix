{
  tasks."app:x" = {
    exec = "true";
    dependsOn = [ "app:y" ];
  };
}
