#!/usr/bin/env bash
# Starts the checkout on this machine: a throw-away vault, a processor, and the portal with its page.
# Ctrl-C ends all of it. Needs Node 20 or newer; fetches packages from the registry.
#
#   start.sh [BINARY]      BINARY is payvault; built from this tree when it is left out
#
# PORT is the portal's, 8080 when it isn't set.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
binary=${1:-}
if [ -z "$binary" ]; then
    cargo build --release --locked --quiet --manifest-path "$here/../../Cargo.toml" -p payvault
    binary=${CARGO_TARGET_DIR:-$here/../../target}/release/payvault
fi
binary=$(realpath "$binary")
# shellcheck source=tests/clients/dev.sh
source "$here/../../tests/clients/dev.sh"

cd "$here"
npm ci --silent --no-fund --no-audit --ignore-scripts
npm run --silent build

serve "$binary"
# In earnest an operator hands it over once, and it is reviewed like code.
node build.mjs "$(identity_key "$binary")" "$work/page"

node built/server/processor.js "$vault/dev.json" "$work/processor" &
processor=$!
ended() {
    code=$?
    kill "$processor" 2>/dev/null || true
    # What `finish` ends with.
    (exit "$code")
    finish
}
trap ended EXIT
node built/server/portal.js "$vault/dev.json" "$work/page" "$work/processor" "${PORT:-8080}"
