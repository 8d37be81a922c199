# Names in nixpkgs that devenv files use, and the program by which the image is
# seen to have them; null where only nixpkgs can help (libraries, functions that
# build with a compiler or fetch). A name that is absent here is Nix' own
# "attribute missing" error; add it if you meet it.
{
  packages = {
    # Shells and the basic tools, most of which every image has.
    bash-completion = null; dash = "dash"; fish = "fish"; zsh = "zsh";
    nushell = "nu"; oh-my-zsh = null;
    coreutils = "ls"; coreutils-full = "ls"; busybox = "busybox"; toybox = "toybox"; uutils-coreutils = null;
    moreutils = "sponge";
    gnugrep = "grep"; gnused = "sed"; gawk = "awk"; findutils = "find"; diffutils = "diff"; gnutar = "tar";
    gzip = "gzip"; bzip2 = "bzip2";
    xz = "xz"; zstd = "zstd"; lz4 = "lz4"; pigz = "pigz"; zip = "zip"; unzip = "unzip"; p7zip = "7z"; cpio = "cpio";
    brotli = "brotli";
    gnumake = "make"; gnupatch = "patch"; patch = "patch"; patchelf = "patchelf"; file = "file"; less = "less";
    which = "which"; time = "time";
    hostname = "hostname"; inetutils = "telnet"; iproute2 = "ip"; iputils = "ping"; nettools = "netstat";
    procps = "ps"; psmisc = "killall"; lsof = "lsof"; strace = "strace"; ltrace = "ltrace";
    util-linux = "mount"; utillinux = "mount"; ncurses = "tput"; readline = null; rsync = "rsync"; openssh = "ssh";
    openssl = "openssl"; openssl_3 = "openssl"; gnupg = "gpg"; age = "age"; sops = "sops";
    curl = "curl"; wget = "wget"; netcat = "nc"; netcat-gnu = "nc"; socat = "socat"; nmap = "nmap"; bind = "dig";
    dig = "dig"; dnsutils = "dig"; tcpdump = "tcpdump"; cacert = null; tzdata = null; glibcLocales = null;
    locale = "locale";
    bc = "bc"; jq = "jq"; yq = "yq"; yq-go = "yq"; gron = "gron"; fx = "fx"; jo = "jo"; dasel = "dasel";
    htmlq = "htmlq"; xmlstarlet = "xmlstarlet"; libxml2 = "xmllint"; libxslt = "xsltproc"; envsubst = "envsubst";
    gettext = "gettext";
    tree = "tree"; vim = "vim"; neovim = "nvim"; nano = "nano"; emacs = "emacs"; helix = "hx"; tmux = "tmux";
    screen = "screen"; parallel = "parallel"; watch = "watch"; watchexec = "watchexec"; entr = "entr"; pv = "pv";
    expect = "expect"; dos2unix = "dos2unix"; acl = "getfacl"; attr = "getfattr";
    ripgrep = "rg"; fd = "fd"; fzf = "fzf"; bat = "bat"; eza = "eza"; exa = "exa"; delta = "delta";
    difftastic = "difft"; sd = "sd"; tokei = "tokei"; hyperfine = "hyperfine"; htop = "htop"; btop = "btop";
    just = "just"; go-task = "task"; mprocs = "mprocs"; overmind = "overmind"; hivemind = "hivemind";
    process-compose = "process-compose"; honcho = "honcho"; zoxide = "zoxide"; starship = "starship";
    direnv = "direnv"; nix-direnv = null; gum = "gum"; glow = "glow"; figlet = "figlet"; cowsay = "cowsay";
    lolcat = "lolcat"; fortune = "fortune"; hello = "hello"; neofetch = "neofetch"; silver-searcher = "ag";
    tealdeer = "tldr"; dust = "dust"; duf = "duf"; bottom = "btm"; procs = "procs"; xh = "xh"; httpie = "http";
    hurl = "hurl"; grpcurl = "grpcurl"; websocat = "websocat"; wscat = "wscat"; k6 = "k6"; vegeta = "vegeta";
    oha = "oha"; miniserve = "miniserve"; mkcert = "mkcert"; step-cli = "step"; ngrok = "ngrok";
    cloudflared = "cloudflared";

    # Version control and review.
    git = "git"; gitMinimal = "git"; gitFull = "git"; git-lfs = "git-lfs"; git-cliff = "git-cliff";
    git-crypt = "git-crypt"; git-absorb = "git-absorb"; gh = "gh"; glab = "glab"; hub = "hub"; tig = "tig";
    lazygit = "lazygit"; jujutsu = "jj"; mercurial = "hg"; subversion = "svn"; pre-commit = "pre-commit";
    prek = "prek"; lefthook = "lefthook"; commitizen = "cz"; convco = "convco"; cocogitto = "cog";
    commitlint = "commitlint"; gitleaks = "gitleaks"; trufflehog = "trufflehog"; act = "act";
    actionlint = "actionlint"; zizmor = "zizmor"; reviewdog = "reviewdog"; semgrep = "semgrep";

    # Nix.
    nix = "nix"; lix = "nix"; nixpkgs-fmt = "nixpkgs-fmt"; nixfmt = "nixfmt"; nixfmt-rfc-style = "nixfmt";
    nixfmt-classic = "nixfmt"; alejandra = "alejandra"; statix = "statix"; deadnix = "deadnix"; nil = "nil";
    nixd = "nixd"; nix-tree = "nix-tree"; nix-diff = "nix-diff"; nix-output-monitor = "nom";
    nix-update = "nix-update"; nix-prefetch-git = "nix-prefetch-git"; nix-init = "nix-init"; nvd = "nvd";
    cachix = "cachix"; attic-client = "attic"; devenv = "devenv"; treefmt = "treefmt"; niv = "niv"; npins = "npins";
    nh = "nh"; nurl = "nurl"; manix = "manix"; vulnix = "vulnix"; nixos-rebuild = "nixos-rebuild";
    colmena = "colmena"; deploy-rs = "deploy"; disko = "disko"; sops-nix = null; agenix = "agenix";

    # Compilers and build systems.
    gcc = "gcc"; gcc13 = "gcc"; gcc14 = "gcc"; clang = "clang"; clang-tools = "clangd"; clang_18 = "clang";
    clang_19 = "clang"; llvm = "llvm-config"; lld = "ld.lld"; mold = "mold"; mold-wrapped = "mold"; wild = "wild";
    binutils = "ld"; gdb = "gdb"; lldb = "lldb"; valgrind = "valgrind"; rr = "rr"; ccache = "ccache";
    sccache = "sccache"; cmake = "cmake"; cmakeMinimal = "cmake"; meson = "meson"; ninja = "ninja"; samurai = "samu";
    autoconf = "autoconf"; automake = "automake"; libtool = "libtool"; pkg-config = "pkg-config";
    pkgconf = "pkgconf"; bison = "bison"; flex = "flex"; m4 = "m4"; bazel = "bazel"; bazelisk = "bazelisk";
    buck2 = "buck2"; gn = "gn"; nasm = "nasm"; yasm = "yasm"; cppcheck = "cppcheck";
    include-what-you-use = "include-what-you-use"; bear = "bear"; doxygen = "doxygen"; swig = "swig";
    protobuf = "protoc"; protoc-gen-go = "protoc-gen-go"; protoc-gen-go-grpc = "protoc-gen-go-grpc"; buf = "buf";
    capnproto = "capnp"; flatbuffers = "flatc"; thrift = "thrift"; tree-sitter = "tree-sitter"; emscripten = "emcc";
    binaryen = "wasm-opt"; wabt = "wat2wasm"; wasmtime = "wasmtime"; wasmer = "wasmer"; wasm-pack = "wasm-pack";
    wasm-bindgen-cli = "wasm-bindgen"; wasm-tools = "wasm-tools"; musl = null; glibc = null; libcxx = null;
    autoreconfHook = null; makeWrapper = null; autoPatchelfHook = null; installShellFiles = null;

    # Rust.
    rustc = "rustc"; cargo = "cargo"; rustfmt = "rustfmt"; clippy = "cargo-clippy"; rust-analyzer = "rust-analyzer";
    rustup = "rustup"; rust-bindgen = "bindgen"; rust-cbindgen = "cbindgen"; cargo-nextest = "cargo-nextest";
    cargo-watch = "cargo-watch"; cargo-edit = "cargo-upgrade"; cargo-audit = "cargo-audit";
    cargo-deny = "cargo-deny"; cargo-insta = "cargo-insta"; cargo-leptos = "cargo-leptos";
    cargo-machete = "cargo-machete"; cargo-outdated = "cargo-outdated"; cargo-expand = "cargo-expand";
    cargo-llvm-cov = "cargo-llvm-cov"; cargo-tarpaulin = "cargo-tarpaulin"; cargo-make = "cargo-make";
    cargo-release = "cargo-release"; cargo-generate = "cargo-generate"; cargo-flamegraph = "cargo-flamegraph";
    cargo-hack = "cargo-hack"; cargo-mutants = "cargo-mutants"; cargo-udeps = "cargo-udeps";
    cargo-shear = "cargo-shear"; cargo-bloat = "cargo-bloat"; cargo-cross = "cross";
    cargo-zigbuild = "cargo-zigbuild"; cargo-dist = "dist"; cargo-tauri = "cargo-tauri"; bacon = "bacon";
    trunk = "trunk"; sqlx-cli = "sqlx"; sea-orm-cli = "sea-orm-cli"; diesel-cli = "diesel"; mdbook = "mdbook";
    typos = "typos"; taplo = "taplo"; dioxus-cli = "dx"; evcxr = "evcxr"; rust-bin = null; fenix = null;
    crane = null; naersk = null; rust = null; rustPackages = null;

    # Go.
    go = "go"; go_1_23 = "go"; go_1_24 = "go"; go_1_25 = "go"; gopls = "gopls"; gotools = "goimports";
    go-tools = "staticcheck"; golangci-lint = "golangci-lint"; delve = "dlv"; gofumpt = "gofumpt";
    gotestsum = "gotestsum"; goreleaser = "goreleaser"; air = "air"; mockgen = "mockgen"; sqlc = "sqlc";
    goose = "goose"; golangci-lint-langserver = "golangci-lint-langserver"; govulncheck = "govulncheck"; ko = "ko";
    templ = "templ"; wire = "wire"; reflex = "reflex"; revive = "revive"; gomod2nix = "gomod2nix";
    buildGoModule = null; buildGoApplication = null;

    # JavaScript and the web.
    nodejs = "node"; nodejs-slim = "node"; nodejs_18 = "node"; nodejs_20 = "node"; nodejs_22 = "node";
    nodejs_24 = "node"; nodejs_latest = "node"; npm = "npm"; pnpm = "pnpm"; pnpm_9 = "pnpm"; pnpm_10 = "pnpm";
    yarn = "yarn"; yarn-berry = "yarn"; corepack = "corepack"; corepack_20 = "corepack"; corepack_22 = "corepack";
    bun = "bun"; deno = "deno"; esbuild = "esbuild"; typescript = "tsc";
    typescript-language-server = "typescript-language-server"; vscode-langservers-extracted = null;
    eslint = "eslint"; eslint_d = "eslint_d"; prettier = "prettier"; prettierd = "prettierd"; biome = "biome";
    oxlint = "oxlint"; dprint = "dprint"; tailwindcss = "tailwindcss"; tailwindcss_3 = "tailwindcss";
    tailwindcss_4 = "tailwindcss"; dart-sass = "sass"; sass = "sass"; sassc = "sassc"; turbo = "turbo";
    svelte-language-server = null; tailwindcss-language-server = null; vite = "vite"; playwright = null;
    playwright-driver = null; playwright-test = "playwright"; cypress = "Cypress"; chromedriver = "chromedriver";
    geckodriver = "geckodriver"; selenium-server-standalone = null; chromium = "chromium";
    google-chrome = "google-chrome-stable"; firefox = "firefox"; firefox-bin = "firefox";
    puppeteer-cli = "puppeteer"; node2nix = "node2nix"; fnm = "fnm"; lighthouse = "lighthouse"; html-tidy = "tidy";
    hugo = "hugo"; zola = "zola"; caddy = "caddy"; nginx = "nginx"; apacheHttpd = "httpd"; traefik = "traefik";
    haproxy = "haproxy"; varnish = "varnishd"; elm2nix = null; buildNpmPackage = null; fetchNpmDeps = null;
    mkYarnPackage = null; importNpmLock = null;

    # Python.
    python = "python"; python3 = [ "python3" ]; python3Full = "python3"; python39 = "python3.9";
    python310 = "python3.10"; python311 = "python3.11"; python312 = "python3.12"; python313 = "python3.13";
    python314 = "python3.14"; pypy3 = "pypy3"; uv = "uv"; poetry = "poetry"; pdm = "pdm"; hatch = "hatch";
    pipenv = "pipenv"; pipx = "pipx"; ruff = "ruff"; ruff-lsp = "ruff-lsp"; black = "black"; isort = "isort";
    mypy = "mypy"; pyright = "pyright"; basedpyright = "basedpyright"; ty = "ty"; pylint = "pylint"; tox = "tox";
    virtualenv = "virtualenv"; conda = "conda"; micromamba = "micromamba"; jupyter = "jupyter"; ansible = "ansible";
    ansible-lint = "ansible-lint"; yamllint = "yamllint"; sphinx = "sphinx-build"; mkdocs = "mkdocs";
    cookiecutter = "cookiecutter"; awscli = "aws"; pythonManylinuxPackages = null; poetry2nix = null;

    # Other languages.
    jdk = "java"; jdk8 = "java"; jdk11 = "java"; jdk17 = "java"; jdk21 = "java"; jdk_headless = "java"; jre = "java";
    jre_headless = "java"; temurin-bin = "java"; graalvm-ce = "native-image"; openjdk = "java"; openjdk17 = "java";
    openjdk21 = "java"; maven = "mvn"; gradle = "gradle"; gradle_8 = "gradle"; ant = "ant"; kotlin = "kotlinc";
    kotlin-language-server = null; ktlint = "ktlint"; scala = "scala"; scala_3 = "scala"; sbt = "sbt"; mill = "mill";
    coursier = "cs"; metals = "metals"; scalafmt = "scalafmt"; clojure = "clojure"; leiningen = "lein";
    babashka = "bb"; clj-kondo = "clj-kondo"; groovy = "groovy"; jdt-language-server = null;
    google-java-format = "google-java-format";
    ruby = "ruby"; ruby_3_2 = "ruby"; ruby_3_3 = "ruby"; ruby_3_4 = "ruby"; bundler = "bundle"; bundix = "bundix";
    rubocop = "rubocop"; solargraph = "solargraph"; ruby-lsp = "ruby-lsp"; bundlerEnv = null; php = "php";
    php81 = "php"; php82 = "php"; php83 = "php"; php84 = "php"; composer = "composer"; symfony-cli = "symfony";
    frankenphp = "frankenphp"; perl = "perl"; rakudo = "raku"; lua = "lua"; lua5_1 = "lua5.1"; lua5_4 = "lua5.4";
    luajit = "luajit"; luarocks = "luarocks"; stylua = "stylua"; lua-language-server = null; tcl = "tclsh";
    guile = "guile"; racket = "racket"; sbcl = "sbcl"; chez = "scheme"; janet = "janet";
    erlang = "erl"; erlang_26 = "erl"; erlang_27 = "erl"; rebar3 = "rebar3"; elixir = "elixir";
    elixir_1_17 = "elixir"; elixir_1_18 = "elixir"; elixir-ls = "elixir-ls"; gleam = "gleam"; livebook = "livebook";
    lexical = null; ghc = "ghc"; cabal-install = "cabal"; stack = "stack";
    haskell-language-server = "haskell-language-server"; hlint = "hlint"; ormolu = "ormolu"; fourmolu = "fourmolu";
    ghcid = "ghcid"; hpack = "hpack"; purescript = "purs"; spago = "spago"; idris2 = "idris2"; agda = "agda";
    lean4 = "lean"; elan = "elan"; coq = "coqc"; opam = "opam"; ocaml = "ocaml"; dune_3 = "dune"; fsharp = null;
    dotnet-sdk = "dotnet"; dotnet-sdk_8 = "dotnet"; dotnet-sdk_9 = "dotnet"; dotnet-runtime = "dotnet";
    dotnet-aspnetcore = "dotnet"; omnisharp-roslyn = null; mono = "mono"; nuget-to-json = null;
    buildDotnetModule = null; powershell = "pwsh"; swift = "swift"; swiftlint = "swiftlint";
    swiftformat = "swiftformat"; zig = "zig"; zls = "zls"; nim = "nim"; nim2 = "nim"; crystal = "crystal";
    shards = "shards"; dmd = "dmd"; ldc = "ldc2"; dub = "dub"; odin = "odin"; hare = "hare"; vlang = "v";
    gfortran = "gfortran"; fpc = "fpc"; gnat = "gnat"; gnucobol = "cobc"; gforth = "gforth"; julia = "julia";
    julia-bin = "julia"; R = "R"; rstudio = "rstudio"; rWrapper = null; octave = "octave"; dart = "dart";
    flutter = "flutter"; solc = "solc"; foundry = "forge"; slither-analyzer = "slither"; echidna = "echidna-test";
    unison-ucm = "ucm"; vala = "valac"; verilator = "verilator"; iverilog = "iverilog"; yosys = "yosys";
    ghdl = "ghdl"; gtkwave = "gtkwave"; nextpnr = "nextpnr-ice40"; openocd = "openocd";
    gcc-arm-embedded = "arm-none-eabi-gcc"; avrdude = "avrdude"; arduino-cli = "arduino-cli";
    platformio = "platformio"; probe-rs-tools = "probe-rs"; esptool = "esptool.py"; espflash = "espflash";
    dfu-util = "dfu-util"; qmk = "qmk";

    # Databases and queues.
    postgresql = "psql"; postgresql_14 = "psql"; postgresql_15 = "psql"; postgresql_16 = "psql";
    postgresql_17 = "psql"; postgresql_18 = "psql"; libpq = null; pgcli = "pgcli"; pgformatter = "pg_format";
    pgbouncer = "pgbouncer"; pgadmin4 = null; postgis = null; dbmate = "dbmate"; flyway = "flyway";
    liquibase = "liquibase"; atlas = "atlas"; sqlfluff = "sqlfluff"; sqitchPg = "sqitch"; mysql = "mysql";
    mysql80 = "mysql"; mysql84 = "mysql"; mariadb = "mariadb"; mycli = "mycli"; sqlite = "sqlite3";
    sqlite-interactive = "sqlite3"; sqlite-web = null; litecli = "litecli"; litestream = "litestream";
    duckdb = "duckdb"; redis = "redis-server"; valkey = "valkey-server"; keydb = "keydb-server";
    memcached = "memcached"; mongodb = "mongod"; mongodb-ce = "mongod"; mongosh = "mongosh";
    mongodb-tools = "mongodump"; couchdb = null; cassandra = null; clickhouse = "clickhouse"; influxdb2 = "influxd";
    elasticsearch = null; opensearch = null; meilisearch = "meilisearch"; typesense = null; neo4j = "neo4j";
    surrealdb = "surreal"; rabbitmq-server = "rabbitmq-server"; apacheKafka = "kafka-topics.sh";
    kafkactl = "kafkactl"; kcat = "kcat"; redpanda-client = "rpk"; nats-server = "nats-server"; natscli = "nats";
    mosquitto = "mosquitto"; etcd = "etcd"; consul = "consul"; vault = "vault"; minio = "minio"; minio-client = "mc";
    s3cmd = "s3cmd"; rclone = "rclone"; restic = "restic"; borgbackup = "borg"; mailhog = "MailHog";
    mailpit = "mailpit"; prometheus = "prometheus"; grafana = "grafana-server"; loki = "loki"; tempo = "tempo";
    jaeger = "jaeger"; opentelemetry-collector = null; opentelemetry-collector-contrib = null; keycloak = null;
    openldap = "slapd"; temporal-cli = "temporal"; temporal = null;

    # Infrastructure.
    docker = "docker"; docker-client = "docker"; docker-compose = "docker-compose"; docker-buildx = null;
    podman = "podman"; podman-compose = "podman-compose"; buildah = "buildah"; skopeo = "skopeo";
    crane-registry = null; dive = "dive"; hadolint = "hadolint"; trivy = "trivy"; grype = "grype"; syft = "syft";
    cosign = "cosign"; colima = "colima"; lima = "limactl"; kubectl = "kubectl"; kubernetes-helm = "helm";
    kubernetes = "kubelet"; helmfile = "helmfile"; kustomize = "kustomize"; k9s = "k9s"; kind = "kind"; k3d = "k3d";
    k3s = "k3s"; minikube = "minikube"; kubectx = "kubectx"; stern = "stern"; tilt = "tilt"; skaffold = "skaffold";
    fluxcd = "flux"; argocd = "argocd"; kubeconform = "kubeconform"; kubeseal = "kubeseal"; krew = "krew";
    istioctl = "istioctl"; talosctl = "talosctl"; velero = "velero"; terraform = "terraform"; opentofu = "tofu";
    terragrunt = "terragrunt"; tflint = "tflint"; terraform-ls = "terraform-ls"; terraform-docs = "terraform-docs";
    tfsec = "tfsec"; checkov = "checkov"; infracost = "infracost"; pulumi = "pulumi"; pulumi-bin = "pulumi";
    packer = "packer"; vagrant = "vagrant"; nomad = "nomad"; awscli2 = "aws"; aws-vault = "aws-vault";
    ssm-session-manager-plugin = null; aws-sam-cli = "sam"; eksctl = "eksctl"; azure-cli = "az";
    google-cloud-sdk = "gcloud"; doctl = "doctl"; flyctl = "flyctl"; heroku = "heroku"; hcloud = "hcloud";
    scaleway-cli = "scw"; wrangler = "wrangler"; vercel = "vercel"; netlify-cli = "netlify";
    localstack = "localstack"; doppler = "doppler"; infisical = "infisical"; secretspec = "secretspec";
    _1password-cli = "op"; bitwarden-cli = "bw"; qemu = "qemu-img"; qemu_kvm = "qemu-img"; qemu-utils = "qemu-img";
    libvirt = "virsh"; cloud-hypervisor = "cloud-hypervisor"; firecracker = "firecracker"; crosvm = "crosvm";
    virtiofsd = "virtiofsd"; e2fsprogs = "mkfs.ext4"; erofs-utils = "mkfs.erofs"; squashfsTools = "mksquashfs";
    dosfstools = "mkfs.fat"; mtools = "mcopy"; parted = "parted"; cdrkit = "genisoimage"; mmdebstrap = "mmdebstrap";
    debootstrap = "debootstrap"; dpkg = "dpkg"; rpm = "rpm"; bubblewrap = "bwrap"; fakeroot = "fakeroot";
    systemd = "systemctl"; kmod = "modprobe"; nftables = "nft"; iptables = "iptables"; wireguard-tools = "wg";
    tailscale = "tailscale"; bpftrace = "bpftrace"; perf = "perf"; oath-toolkit = "oathtool"; xmlsec = "xmlsec1";
    simplesamlphp = null; dex-oidc = "dex"; authelia = "authelia"; zitadel = "zitadel";

    # Text, documents, media.
    pandoc = "pandoc"; texliveFull = "pdflatex"; texliveMedium = "pdflatex"; texliveSmall = "pdflatex";
    tectonic = "tectonic"; typst = "typst"; asciidoctor = "asciidoctor"; graphviz = "dot"; plantuml = "plantuml";
    mermaid-cli = "mmdc"; d2 = "d2"; imagemagick = "magick"; ffmpeg = "ffmpeg"; ffmpeg-full = "ffmpeg";
    inkscape = "inkscape"; librsvg = "rsvg-convert"; optipng = "optipng"; pngquant = "pngquant"; ghostscript = "gs";
    poppler_utils = "pdftotext"; poppler-utils = "pdftotext"; qpdf = "qpdf"; exiftool = "exiftool"; vips = "vips";
    aspell = "aspell"; hunspell = "hunspell"; vale = "vale"; languagetool = null; codespell = "codespell";
    markdownlint-cli = "markdownlint"; markdownlint-cli2 = "markdownlint-cli2"; lychee = "lychee";
    mdformat = "mdformat"; shellcheck = "shellcheck"; shfmt = "shfmt"; bats = "bats"; checkmake = "checkmake";
    editorconfig-checker = "editorconfig-checker"; ast-grep = "ast-grep"; ctags = "ctags"; universal-ctags = "ctags";
    cloc = "cloc"; scc = "scc"; asciinema = "asciinema"; vhs = "vhs"; xvfb-run = "xvfb-run"; vscode = "code";
    vscodium = "codium"; claude-code = "claude"; opencode = "opencode"; ollama = "ollama"; dejavu_fonts = null;
    noto-fonts = null; liberation_ttf = null; fontconfig = "fc-list"; yaml-language-server = null;
    bash-language-server = null; marksman = "marksman"; jsonnet = "jsonnet"; go-jsonnet = "jsonnet"; cue = "cue";
    dhall = "dhall"; nickel = "nickel"; pkl = "pkl"; taskwarrior3 = "task"; remarshal = "remarshal";
    check-jsonschema = "check-jsonschema"; jsonschema = "jsonschema"; jaq = "jaq"; miller = "mlr"; xsv = "xsv";
    csvkit = "csvcut"; visidata = "vd";

    # Libraries and what builds from source or fetches.
    zlib = null; libz = null; libffi = null; libyaml = null; libiconv = null; libsodium = null; libgit2 = null;
    libssh2 = null; libuv = null; libev = null; libevent = null; libusb1 = null; libclang = null;
    llvmPackages_latest = null; libuuid = null; libcap = null; libseccomp = null; libsecret = null; libtool_2 = null;
    libpng = null; libjpeg = null; libwebp = null; libGL = null; libGLU = null; libdrm = null; libxkbcommon = null;
    mesa = null; vulkan-loader = null; vulkan-headers = null; wayland = null; alsa-lib = null; udev = null;
    dbus = "dbus-launch"; glib = null; gtk3 = null; gtk4 = null; webkitgtk_4_1 = null; cairo = null; pango = null;
    gdk-pixbuf = null; atk = null; harfbuzz = null; freetype = null; expat = null; icu = null; pcre = null;
    pcre2 = null; oniguruma = null; rdkafka = null; snappy = null; rocksdb = null; lmdb = null; gmp = null;
    mpfr = null; openblas = null; lapack = null; blas = null; eigen = null; boost = null; fmt = null; spdlog = null;
    gtest = null; catch2 = null; catch2_3 = null; nlohmann_json = null; grpc = null; abseil-cpp = null;
    opencv = null; hdf5 = null; gdal = null; geos = null; proj = null; krb5 = null; cyrus_sasl = null;
    xmlsec-lib = null; unixODBC = null; SDL2 = null; SDL2_image = null; glfw = null; raylib = null;
    cudatoolkit = null; libtorch-bin = null; jemalloc = null; mimalloc = null; libunwind = null; elfutils = null;
    linux-pam = null;
    fetchurl = null; fetchzip = null; fetchFromGitHub = null; fetchFromGitLab = null; fetchgit = null;
    fetchpatch = null; fetchTarball = null; nix2container = null; appimageTools = null; buildFHSEnv = null;
    buildFHSUserEnv = null; gitignoreSource = null; nix-gitignore = null; wrapProgram = null; nixosTest = null;
    mkPoetryApplication = null; makeDesktopItem = null; substituteAll = null; replaceVars = null; clangStdenv = null;
    gccStdenv = null; gcc13Stdenv = null; multiStdenv = null; llvmPackages_17 = null; llvmPackages_18 = null;
    llvmPackages_19 = null; pkgsStatic = null; pkgsCross = null; pkgsMusl = null; pkgsi686Linux = null;
    unstable = null;
  };

  # Sets of packages, with the members that are used most.
  sets = rec {
    rustPlatform = [ "bindgenHook" "buildRustPackage" "fetchCargoVendor" "importCargoLock" "rustLibSrc" "rustcSrc" ];
    dockerTools = [ "buildImage" "buildLayeredImage" "fakeNss" "pullImage" "streamLayeredImage" ];
    dotnetCorePackages = [
      "combinePackages" "dotnet_8" "dotnet_9" "runtime_8_0" "runtime_9_0" "sdk_8_0" "sdk_9_0" "sdk_10_0"
      "aspnetcore_8_0" "aspnetcore_9_0"
    ];
    nixVersions = [ "latest" "stable" "git" "nix_2_24" "nix_2_28" "nix_2_30" "nix_2_31" ];
    linuxPackages = [ "bpftrace" "kernel" "perf" ];
    texlive = [ "combine" "combined" "scheme-basic" "scheme-full" "scheme-medium" "scheme-small" ];
    testers = [ "runNixOSTest" "nixosTest" "runCommand" ];
    elmPackages = [ "elm" "elm-format" "elm-language-server" "elm-review" "elm-test" "elm-json" "elm-land" ];
    qt6 = [ "full" "qtbase" "qtdeclarative" "qtsvg" "qttools" "qtwayland" "wrapQtAppsHook" ];
    qt5 = qt6;
    nodePackages_latest = nodePackages;
    nodePackages = [
      "eslint" "pnpm" "prettier" "typescript" "typescript-language-server" "yarn" "npm" "nodemon" "serve" "vercel"
      "firebase-tools" "http-server" "live-server" "markdownlint-cli" "ts-node" "webpack-cli" "postcss" "rollup"
      "concurrently" "svelte-language-server" "bash-language-server" "yaml-language-server"
      "vscode-langservers-extracted" "mermaid-cli" "katex" "npm-check-updates" "node-gyp" "wrangler" "sass" "jsonlint"
      "cspell" "stylelint" "@angular/cli"
    ];
    python3Packages = [
      "ansible" "black" "build" "click" "cryptography" "django" "fastapi" "flake8" "flask" "gunicorn" "hatchling"
      "httpx" "ipython" "isort" "jinja2" "jupyter" "jupyterlab" "lxml" "matplotlib" "mypy" "notebook" "numpy" "pandas"
      "pillow" "pip" "pip-tools" "poetry-core" "psycopg2" "pydantic" "pylint" "pytest" "pytest-cov"
      "python-lsp-server" "pyyaml" "requests" "ruff" "scikit-learn" "scipy" "setuptools" "sphinx" "sqlalchemy" "torch"
      "tox" "tkinter" "twine" "uvicorn" "venvShellHook" "virtualenv" "wheel" "yamllint" "mkdocs" "mkdocs-material"
      "buildPythonPackage" "buildPythonApplication"
    ];
    python310Packages = python3Packages;
    python311Packages = python3Packages;
    python312Packages = python3Packages;
    python313Packages = python3Packages;
    haskellPackages = [
      "cabal-fmt" "cabal-gild" "cabal-install" "fourmolu" "ghc" "ghcWithPackages" "ghcid" "haskell-language-server"
      "hlint" "hoogle" "implicit-hie" "ormolu" "stylish-haskell" "weeder" "callCabal2nix" "developPackage" "shellFor"
    ];
    perlPackages = [ "AppCpanminus" "PerlTidy" "PerlCritic" ];
    rubyPackages = [ "bundler" "rails" "rubocop" "solargraph" "rake" ];
    phpPackages = [ "composer" "php-cs-fixer" "phpstan" "psalm" ];
    php83Packages = phpPackages;
    php84Packages = phpPackages;
    ocamlPackages = [ "dune_3" "findlib" "merlin" "ocaml-lsp" "ocamlformat" "odoc" "utop" ];
    luaPackages = [ "luacheck" "busted" "luarocks" ];
    beamPackages = [ "elixir" "elixir-ls" "erlang" "hex" "rebar3" "mixRelease" "fetchMixDeps" ];
    beam27Packages = beamPackages;
    rPackages = [ "tidyverse" "ggplot2" "dplyr" "devtools" "languageserver" "renv" ];
    llvmPackages = [
      "bintools" "clang" "clang-tools" "clang-unwrapped" "libclang" "libcxx" "lld" "lldb" "llvm" "openmp" "stdenv"
    ];
    xorg = [ "libX11" "libXcursor" "libXext" "libXi" "libXrandr" "libXrender" "libxcb" "libXtst" "xorgserver" ];
    gst_all_1 = [ "gstreamer" "gst-plugins-base" "gst-plugins-good" "gst-plugins-bad" "gst-plugins-ugly" "gst-libav" ];
    kubernetes-helmPlugins = [ "helm-diff" "helm-secrets" "helm-git" "helm-s3" ];
    terraform-providers = [ "aws" "google" "azurerm" ];
    emacsPackages = [ "nix-mode" ];
    vimPlugins = [ "nvim-treesitter" ];
  };
}
