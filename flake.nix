{
  description = "CI that is local-first and built with Nix";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      forAllSystems = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      version = (builtins.fromTOML (builtins.readFile ./Cargo.toml)).workspace.package.version;
    in
    {
      packages = forAllSystems (pkgs:
        let
          inherit (pkgs) lib;
          common = {
            inherit version;
            src = lib.fileset.toSource {
              root = ./.;
              fileset = lib.fileset.gitTracked ./.;
            };
            cargoLock.lockFile = ./Cargo.lock;
            # Tests need machines, databases and a browser: `cargo xtask test`.
            doCheck = false;
          };

          # PID 1 of every job's machine. The image has no library to link to.
          guest = pkgs.pkgsStatic.rustPlatform.buildRustPackage (common // {
            pname = "devenv-cloud-guest";
            cargoBuildFlags = [ "-p" "devenv-cloud-guest" ];
            postInstall = ''
              mkdir -p $out/lib/devenv-cloud
              cp -r guest/nix $out/lib/devenv-cloud/nix
            '';
          });

          # The one binary, with the browser's side inside.
          devenv-cloud = pkgs.rustPlatform.buildRustPackage (common // {
            pname = "devenv-cloud";
            nativeBuildInputs = [ pkgs.makeWrapper pkgs.lld pkgs.wasm-bindgen-cli pkgs.binaryen ];
            buildPhase = ''
              runHook preBuild
              cargo xtask build --release --no-image
              runHook postBuild
            '';
            installPhase = ''
              runHook preInstall
              install -Dm755 target/release/devenv-cloud $out/bin/devenv-cloud
              wrapProgram $out/bin/devenv-cloud \
                --prefix PATH : ${lib.makeBinPath [ pkgs.git pkgs.qemu_kvm pkgs.mmdebstrap pkgs.erofs-utils ]}
              runHook postInstall
            '';
            meta = {
              description = "CI that is local-first and built with Nix";
              license = lib.licenses.asl20;
              mainProgram = "devenv-cloud";
              platforms = systems;
            };
          });
        in
        {
          inherit devenv-cloud guest;
          default = devenv-cloud;
        });

      apps = forAllSystems (pkgs: rec {
        devenv-cloud = {
          type = "app";
          program = "${self.packages.${pkgs.stdenv.hostPlatform.system}.default}/bin/devenv-cloud";
        };
        default = devenv-cloud;
      });

      # The same tools as devenv.nix, for those who have Nix but not devenv.
      devShells = forAllSystems (pkgs: {
        default = pkgs.mkShell {
          packages = with pkgs; [
            cargo
            clippy
            rustc
            rustfmt
            lld
            cargo-deny
            pkg-config
            wasm-bindgen-cli
            qemu
            mmdebstrap
            erofs-utils
            e2fsprogs
            cpio
            zstd
            chromium
            curl
            git
            nodejs
            postgresql
          ];
          env.PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD = "1";
        };
      });

      formatter = forAllSystems (pkgs: pkgs.nixfmt);
    };
}
