{
  tasks."app:x" = {
    exec = "true";
    status = "true";
    execIfModified = [ "src" ];
  };
}
