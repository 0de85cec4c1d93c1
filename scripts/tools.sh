#!/usr/bin/env bash
# Prints the path of a tool that is no Python package: found on PATH, else in
# .tools/bin, else built there by `go install` at the version pinned below.
#
#   scripts/tools.sh k6             find it or build it, print its path
#   scripts/tools.sh --find k6      find it or exit 3; never builds
#
# The rule it keeps: only the path goes to stdout, everything else to stderr, and a
# half-built binary is never found (each build has a directory of its own; the finished
# file is moved into place). Versions live here and nowhere else.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cache="$root/.tools/bin"

say() { printf '%s\n' "tools: $*" >&2; }

usage() {
  say "usage: scripts/tools.sh [--find] k6|toxiproxy-server|actionlint|kustomize"
  exit 2
}

# describe TOOL: sets the package to build, its version, the name `go install` gives
# the binary, and the arguments that make the tool tell its version.
describe() {
  case "$1" in
    k6)
      package=go.k6.io/k6 version=v1.8.1 built_as=k6 version_args=(version) ;;
    toxiproxy-server)
      package=github.com/Shopify/toxiproxy/v2/cmd/server version=v2.12.0
      built_as=server version_args=(-version) ;;
    actionlint)
      package=github.com/rhysd/actionlint/cmd/actionlint version=v1.7.12
      built_as=actionlint version_args=(-version) ;;
    kustomize)
      # Not 5.8.3: it builds with Go 1.27 only.
      package=sigs.k8s.io/kustomize/kustomize/v5 version=v5.8.2
      built_as=kustomize version_args=(version) ;;
    *) usage ;;
  esac
}

# told_version PATH: the first x.y.z the tool prints about itself, or nothing: a binary
# made by `go install` may only say "git" or "(devel)".
told_version() {
  { "$1" "${version_args[@]}" 2>/dev/null || true; } |
    grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1 || true
}

# recent_enough PATH: same major version and not older than the pin. A tool that tells
# no version is taken at its word.
recent_enough() {
  local told pinned="${version#v}"
  told="$(told_version "$1")"
  [[ -z "$told" ]] && return 0
  [[ "${told%%.*}" == "${pinned%%.*}" ]] || return 1
  [[ "$(printf '%s\n%s\n' "$pinned" "$told" | sort -V | head -n 1)" == "$pinned" ]]
}

# find_tool TOOL: prints the path, or returns 1.
find_tool() {
  local on_path
  if on_path="$(type -P "$1")"; then
    if recent_enough "$on_path"; then
      printf '%s\n' "$on_path"
      return 0
    fi
    say "$on_path is version $(told_version "$on_path"), $version is needed: not used"
  fi
  [[ -x "$cache/$1" ]] && recent_enough "$cache/$1" && printf '%s\n' "$cache/$1"
}

# build_tool TOOL: builds into .tools/bin and prints the path.
build_tool() {
  local go_command workdir
  if ! go_command="$(type -P go)"; then
    say "$1 is neither on PATH nor in .tools/bin, and it cannot be built: there is no Go."
    say "Install $1 $version, or Go (https://go.dev/dl/), and run this again."
    exit 3
  fi
  mkdir -p "$cache"
  # Beside the cache, so that the final mv is a rename within one file system.
  workdir="$(mktemp -d "$root/.tools/build.XXXXXX")"
  # shellcheck disable=SC2064  # the directory of this build, not of a later one
  trap "rm -rf '$workdir'" EXIT
  say "building $1 $version (once; a minute or more) …"
  if ! GOBIN="$workdir" GOFLAGS=-buildvcs=false CGO_ENABLED=0 \
    "$go_command" install "$package@$version" >&2; then
    say "$1 $version could not be built. The lines above say why: most often the Go"
    say "module proxy cannot be reached (see 'go env GOPROXY') or Go is too old."
    exit 1
  fi
  mv -f "$workdir/$built_as" "$cache/$1"
  say "built $cache/$1"
  printf '%s\n' "$cache/$1"
}

build=yes
if [[ "${1:-}" == --find ]]; then
  build=no
  shift
fi
[[ $# -eq 1 ]] || usage
describe "$1"
if find_tool "$1"; then
  exit 0
fi
if [[ "$build" == no ]]; then
  say "$1 is not here yet: run scripts/tools.sh $1"
  exit 3
fi
build_tool "$1"
