#!/usr/bin/env bash
# Makes the page of a large export and looks at it in a browser: light, dark and on paper.
#
#   page.sh PYTHON BINARY BROWSER DIR      DIR gets page.html, light.png, dark.png and paper.pdf
set -euo pipefail

python=$1
binary=$2
browser=$3
out=$4
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/payvault-page.XXXXXX")
trap 'rm -rf "$work"' EXIT

mkdir -p "$out"
rm -f "$out"/{page.html,light.png,dark.png,paper.pdf}
key=$(PYTHONDONTWRITEBYTECODE=1 "$python" "$here/sample.py" 100000 "$work/sample.jsonl")
"$binary" log report "$work/sample.jsonl" --key "$key" -o "$out/page.html"

# Nothing is fetched: neither by the page, whose policy forbids it, nor by the browser for itself.
look() {
    "$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync \
        --user-data-dir="$work/browser" --hide-scrollbars --virtual-time-budget=2000 \
        "$@" "file://$out/page.html" >"$work/browser.log" 2>&1 || {
        cat "$work/browser.log" >&2
        return 1
    }
}
look --window-size=1100,4200 --blink-settings=preferredColorScheme=1 --screenshot="$out/light.png"
look --window-size=1100,4200 --blink-settings=preferredColorScheme=0 --screenshot="$out/dark.png"
look --no-pdf-header-footer --print-to-pdf="$out/paper.pdf"
for picture in light.png dark.png paper.pdf; do
    size=$(wc -c <"$out/$picture")
    if [ "$size" -lt 20000 ]; then
        echo "$picture has $size bytes: it can't show the page" >&2
        exit 1
    fi
done
if cmp -s "$out/light.png" "$out/dark.png"; then
    echo "light and dark look the same" >&2
    exit 1
fi
echo "ok     the page of 100,000 entries, in light, dark and on paper: $out"
