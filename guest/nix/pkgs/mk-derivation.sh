# The phases of `stdenv.mkDerivation`, as far as they need no compiler wrapper:
# unpack, patch, configure, build, check, install. A phase given as text replaces ours;
# pre and post hooks run around it. Relative paths are those of the source.
set -eu -o pipefail
prefix="$out"
cd "${NIX_BUILD_TOP:-$PWD}"

# substituteInPlace FILE --replace OLD NEW …
substituteInPlace() {
  local file=$1 text
  shift
  text=$(cat "$file"; printf x)
  while [ $# -gt 0 ]; do
    case $1 in
      --replace|--replace-fail|--replace-warn|--replace-quiet) text=${text//"$2"/"$3"}; shift 3 ;;
      *) echo "substituteInPlace: unknown option $1" >&2; return 1 ;;
    esac
  done
  printf %s "${text%x}" > "$file"
}

# A phase is text: the project's, or the default of the same name below.
phase() {
  local name=$1 default=$2 skip="dont${1^}" own="${1}Phase" pre="pre${1^}" post="post${1^}"
  if [ -n "${!skip:-}" ]; then return; fi
  if [ "$name" = check ] && [ -z "${doCheck:-}" ]; then return; fi
  printf '@nix { "action": "setPhase", "phase": "%sPhase" }\n' "$name" >&"${NIX_LOG_FD:-2}"
  eval "${!pre:-}"
  eval "${!own:-$default}"
  eval "${!post:-}"
}

runHook() { eval "${!1:-}"; }

unpackSource() {
  if [ -z "${src:-}" ]; then return; fi
  if [ -d "$src" ]; then
    cp -r --no-preserve=ownership "$src" source
    chmod -R u+w source
    cd source
  else
    case $src in
      *.tar*|*.tgz) mkdir source; tar -xf "$src" -C source --strip-components=1; cd source ;;
      *) mkdir source; cp "$src" "source/$(stripHash "$src")"; cd source ;;
    esac
  fi
  if [ -n "${sourceRoot:-}" ]; then cd "../$sourceRoot"; fi
}

stripHash() { local base=${1##*/}; printf %s "${base#*-}"; }

hasMakefile() { [ -e Makefile ] || [ -e makefile ] || [ -e GNUmakefile ]; }

phase unpack unpackSource
phase patch 'for p in ${patches:-}; do patch -p1 < "$p"; done'
phase configure 'if [ -x ./configure ]; then ./configure --prefix="$out" ${configureFlags:-}; fi'
phase build 'if hasMakefile; then make ${makeFlags:-} ${buildFlags:-}; fi'
phase check 'if hasMakefile; then make ${makeFlags:-} check; fi'
phase install 'if hasMakefile; then make ${makeFlags:-} PREFIX="$out" prefix="$out" install; else echo "this derivation has no installPhase and no Makefile" >&2; exit 1; fi'
phase fixup ''
