# Everything a project tells its developers' machines, and the CI, is here.
# https://devenv.sh has the language; docs/devenv.md says what this CI reads.
{ pkgs, ... }:
{
  # Variables that every task and script sees.
  env.GREET = "world";

  # Programs they need.
  packages = [ pkgs.git ];

  # Short commands: `greet` in the shell, in tasks and in tests.
  scripts.greet.exec = ''
    echo "Hello, ''${1:-$GREET}!"
  '';

  # Tasks run in the order of their dependencies, side by side where they can.
  tasks = {
    "hello:prepare".exec = ''
      mkdir -p .build
      git log -1 --format='building %h: %s'
    '';

    "hello:greet" = {
      description = "Say hello";
      exec = "greet | tee .build/greeting.txt";
      after = [ "hello:prepare" ];
    };

    "hello:colours" = {
      description = "Show that colours survive the way to the browser";
      exec = ''
        for n in 1 2 3 4 5 6; do
          printf '\033[3%dmcolour %d\033[0m  ' "$n" "$n"
        done
        echo
      '';
      after = [ "hello:prepare" ];
    };

    "hello:report" = {
      exec = ''
        read -r greeting < .build/greeting.txt
        echo "the greeting has ''${#greeting} letters"
      '';
      after = [ "hello:greet" "hello:colours" ];
      before = [ "devenv:enterTest" ];
    };
  };

  # The tests. Tasks that they need say so.
  enterTest = ''
    test "$(greet)" = "Hello, world!"
    test "$(greet CI)" = "Hello, CI!"
    test -s .build/greeting.txt
    echo "all greetings are right"
  '';
}
