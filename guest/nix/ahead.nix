# The built-in evaluator, started before there is a project: it reads its own
# files, does its work once for the small project in ./ahead, and waits at the
# gate, a named pipe, until somebody opens it. Then it answers for `root` as
# default.nix does, with the context from a file that was written meanwhile.
#
# The guest starts it in machines that are about to be frozen (src/ahead/).
{ root, gate, context }:
let
  evaluator = import ./default.nix;
  practice = evaluator {
    root = ./ahead;
    context = builtins.toJSON { system = "x86_64-linux"; hostname = "devenv-ci"; user = "devenv"; };
  };
  # A pipe that nobody writes to is an empty file as soon as it can be opened.
  wait = builtins.readFile gate;
in
builtins.deepSeq practice
  (builtins.seq wait (evaluator { inherit root; context = builtins.readFile context; }))
