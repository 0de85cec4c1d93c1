#!/usr/bin/env bash
# Fetches the CustomResourceDefinitions that the manifests are checked against, from the releases of their projects.
#
#   scripts/crd_schemas.sh DIRECTORY
#
# The rule it keeps: a release tag can be moved, so that each file counts only with the SHA-256 recorded here; anything
# else ends with an error and leaves no file behind. To move to a newer release, change tag and sum together.
set -euo pipefail

# SHA-256, repository, tag, path; one line for each custom kind that a manifest here uses.
pins='
4892418247ccea8f76210f3790387d2ef83630e76285acdcfdf99ba61e0bb884 chaos-mesh/chaos-mesh v2.8.3 config/crd/bases/chaos-mesh.org_workflows.yaml
d4df597bb94d210bcb9368dd4faf81da25c08194e240da98e4df8887563be185 grafana/k6-operator v1.6.0 config/crd/bases/k6.io_testruns.yaml
'

if [[ $# -ne 1 ]]; then
  echo "usage: scripts/crd_schemas.sh DIRECTORY" >&2
  exit 2
fi

sum_of() {
  if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}

fetched="$(mktemp)"
trap 'rm -f "$fetched"' EXIT

while read -r sum repository tag path; do
  [[ -n "$sum" ]] || continue
  target="$1/${repository##*/}/${path##*/}"
  if [[ -f "$target" && "$(sum_of "$target")" == "$sum" ]]; then
    continue
  fi
  curl --fail --silent --show-error --location --proto '=https' --retry 3 --max-time 60 \
    --output "$fetched" "https://raw.githubusercontent.com/$repository/$tag/$path"
  if [[ "$(sum_of "$fetched")" != "$sum" ]]; then
    echo "crd_schemas: $repository $tag $path is not the file that was recorded" >&2
    exit 1
  fi
  mkdir -p "${target%/*}"
  cp "$fetched" "$target"
  echo "crd_schemas: $target"
done <<<"$pins"
