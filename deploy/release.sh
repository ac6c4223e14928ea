#!/usr/bin/env bash
# Makes a release: a directory with what runs and nothing else, so no compiler, no tests, no sources.
#
#     npm ci && deploy/release.sh <directory>
#
# It takes what `npm ci` installed here, builds, and copies; it needs no network. The directory is
# complete in itself and may be moved anywhere. Dockerfile and install.sh start from it.
set -euo pipefail

usage() {
  sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit "$1"
}

case "${1-}" in
  "" | -*) usage "$([[ "${1-}" == --help || "${1-}" == -h ]] && echo 0 || echo 2)" ;;
esac
mkdir -p "$1"
target="$(cd "$1" && pwd)"
if [[ -n "$(ls -A "$target")" ]]; then
  echo "release.sh: $target is not empty" >&2
  exit 1
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
npm exec --no -- tsc -b packages/cli
npm run --silent --workspace packages/dashboard build

# Everything that swarmctl needs at run time, and so the five services: once each, from here.
npm ls --all --omit=dev --parseable --workspace packages/cli --loglevel=error |
  sed -n "s|^$PWD/||p" |
  while IFS= read -r path; do
    if [[ -L "$path" ]]; then
      # One of ours: what it would publish, and the link to it.
      own="$(realpath --relative-to=. "$path")"
      mkdir -p "$target/$own" "$target/$(dirname "$path")"
      cp -P "$path" "$target/$path"
      files="$(node -p "require('./$own/package.json').files.join('\n')")"
      for part in package.json $files; do cp -R "$own/$part" "$target/$own/"; done
    else
      mkdir -p "$target/$path"
      # What is nested in it is on the list itself, if it is needed.
      tar -C "$path" --exclude=./node_modules -cf - . | tar -C "$target/$path" -xf -
    fi
  done
cp package.json nats-server.conf accounts.conf LICENSE "$target/"
cp -R deploy "$target/"

# For whoever reads or debugs the source, which is not there.
find "$target" \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' \) -type f -delete
echo "release in $target: $(du -sh "$target" | cut -f1)"
