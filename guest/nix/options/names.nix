# Names that devenv has: languages and services that a project may enable, and
# top-level options outside the built-in evaluator's subset.
{
  languages = [
    "ada" "ansible" "assembly" "c" "clojure" "cobol" "cplusplus" "crystal" "cue" "d" "dart" "deno"
    "dotnet" "elixir" "elm" "erlang" "forth" "fortran" "gawk" "gleam" "go" "hare" "haskell" "helm"
    "idris" "java" "javascript" "jsonnet" "julia" "kotlin" "lean4" "lobster" "lua" "matlab" "nim"
    "nix" "ocaml" "odin" "opentofu" "pascal" "perl" "php" "pkl" "purescript" "python" "r" "racket"
    "raku" "robotframework" "ruby" "rust" "scala" "shell" "solidity" "sql" "standardml" "sway"
    "swift" "terraform" "texlive" "typescript" "typst" "unison" "v" "vala" "verilog" "vhdl" "zig"
  ];

  services = [
    "adminer" "blackfire" "caddy" "cassandra" "clickhouse" "cockroachdb" "couchdb" "dynamodb-local"
    "elasticmq" "elasticsearch" "garage" "httpbin" "influxdb" "kafka" "kafka-connect" "keycloak"
    "mailhog" "mailpit" "meilisearch" "memcached" "minio" "mongodb" "mosquitto" "mysql" "n8n" "nats"
    "nginx" "nixseparatedebuginfod" "ollama" "openbao" "opencode" "opensearch"
    "opentelemetry-collector" "pgbouncer" "pocket-id" "postgres" "prometheus" "rabbitmq" "redis"
    "rustfs" "spacetimedb" "sqld" "surrealdb" "tailscale" "temporal" "tideways" "trafficserver"
    "typesense" "varnish" "vault" "wiremock" "zitadel"
  ];

  # These change nothing about what a job's tasks do: accepted, with a warning.
  ignored = [
    "apple" "aws-vault" "cachix" "changelogs" "ci" "claude" "container" "containers" "delta"
    "devcontainer" "difftastic" "direnv" "dotenv" "gitignore" "gitnr" "hardeningDisable"
    "hostsProfileName" "info" "infoSections" "machines" "mergiraf" "opencode" "overlays"
    "perSystem" "process" "process-managers" "shell" "starship" "unsetEnvVars"
  ];

  # A project that sets one of these relies on it, and a job without it would
  # show something false: the job fails and names it.
  needed = [
    "android" "certificates" "conan" "files" "hosts" "inputsFrom" "just" "secretspec" "stdenv"
    "treefmt"
  ];
}
