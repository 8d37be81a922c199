# The development environment of devenv-cloud itself, and what its CI runs.
{ pkgs, lib, config, ... }:
{
  name = "devenv-cloud";

  packages = [
    # Rust, with a linker for the browser's side.
    pkgs.cargo
    pkgs.clippy
    pkgs.rustc
    pkgs.rustfmt
    pkgs.lld
    pkgs.cargo-deny
    pkgs.pkg-config
    # The machines that jobs run in.
    pkgs.qemu
    pkgs.mmdebstrap
    pkgs.erofs-utils
    pkgs.e2fsprogs
    pkgs.cpio
    pkgs.zstd
    # What the tests talk to.
    pkgs.chromium
    pkgs.curl
    pkgs.git
    pkgs.nix
    pkgs.nodejs
    pkgs.postgresql
  ];

  env = {
    CARGO_TERM_COLOR = "always";
    # Node's browser tests use the browser of this environment, not one of theirs.
    PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD = "1";
  }
  // lib.optionalAttrs config.cloud.enable {
    # A fresh machine gains nothing from artefacts for the next build.
    CARGO_INCREMENTAL = "0";
  };

  enterShell = ''
    echo "cargo xtask demo    everything, running, in a browser"
    echo "cargo xtask test    every suite"
  '';

  tasks = {
    "cloud:check" = {
      description = "Formatting, lints, licences, generated files";
      exec = "cargo xtask check";
    };
    "cloud:test" = {
      description = "Unit, integration on both databases, end to end";
      exec = "cargo xtask test --only cargo,e2e";
      after = [ "cloud:check" ];
      before = [ "devenv:enterTest" ];
    };
  };

  enterTest = ''
    git diff --exit-code
  '';

  outputs.devenv-cloud = pkgs.rustPlatform.buildRustPackage {
    pname = "devenv-cloud";
    version = "0.1.0";
    src = lib.cleanSource ./.;
    cargoLock.lockFile = ./Cargo.lock;
    cargoBuildFlags = [ "-p" "devenv-cloud" ];
    doCheck = false; # the tasks above test it
  };

  # `devenv --profile quick test`: before a commit.
  profiles.quick.module = {
    tasks."cloud:test".exec = "cargo xtask test --only cargo";
  };
}
