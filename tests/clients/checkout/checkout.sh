#!/usr/bin/env bash
# The package for browsers and the checkout example: its tests and sizes, and the whole road through a
# real browser. Works on a copy, so that the tree stays as it is.
#
#   checkout.sh BINARY DIR [BROWSER]      DIR gets the pictures; without BROWSER the package only
set -euo pipefail

binary=$1
out=$2
browser=${3:-}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
# shellcheck source=tests/clients/dev.sh
source "$root/tests/clients/dev.sh"

tree=$work/tree
mkdir "$tree"
(
    cd "$root"
    git ls-files -z --cached --others --exclude-standard -- clients/collect-js examples/checkout \
        tests/clients/checkout tests/vectors/payment proto | xargs -0 cp --parents -t "$tree"
)
install() {
    npm ci --silent --no-fund --no-audit --ignore-scripts
}

cd "$tree/clients/collect-js"
install
npm test --silent
npm run --silent build
npm run --silent size
echo "ok     the package for browsers passes its tests"
if [ -z "$browser" ]; then
    exit 0
fi

cd "$tree/examples/checkout"
install
npm run --silent build
serve "$binary"
key=$(identity_key "$binary")
node build.mjs "$key" "$work/page"
node build.mjs "$key" "$work/leaking" "$tree/tests/clients/checkout/leak.mjs"
node_modules/.bin/esbuild "$tree/tests/clients/checkout/bench.mjs" --bundle --minify --format=esm \
    --external:crypto --log-level=warning --outfile="$work/bench.js"

cd "$tree/tests/clients/checkout"
install
mkdir -p "$out"
rm -f "$out"/*.png
node drive.mjs "$vault/dev.json" "$key" "$browser" "$work" "$out"
