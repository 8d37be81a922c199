{ pkgs, ... }:
{
  tasks."app:build" = {
    description = "Build it";
    exec = "echo build";
    status = "test -e built";
    after = [ "devenv:enterShell" "app:fetch@completed" ];
    before = [ "devenv:enterTest" ];
    cwd = "sub";
    env.LEVEL = 3;
    input = { names = [ "a" "b" ]; deep.er = true; };
    exports = [ "RESULT" ];
    showOutput = true;
  };
  tasks."app:fetch".execIfModified = [ "src/**" ];
  tasks."app:python" = { package = pkgs.python3; exec = "print(1)"; };
  tasks."app:sh" = { package = pkgs.bash; binary = "sh"; exec = "echo sh"; };
  scripts.hello = { exec = "echo hello"; description = "Say hello"; };
  processes.web = { exec = "serve"; env.PORT = 8080; ready.http.get.port = 8080; };
}
