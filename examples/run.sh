#!/usr/bin/env bash
# Runs the example against a `payvault dev`: a portal imports a few orders, a processor settles them.
#
#   run.sh PYTHON BINARY      PYTHON has tests/clients/python/requirements.txt installed
set -euo pipefail

python=$1
binary=$2
here=$(cd "$(dirname "$0")" && pwd)
proto=$here/../proto
work=$(mktemp -d "${TMPDIR:-/tmp}/payvault-examples.XXXXXX")
vault=$work/vault
pid=

finish() {
    code=$?
    if [ -n "$pid" ]; then
        kill -KILL "$pid" 2>/dev/null || true
    fi
    if [ "$code" -ne 0 ] && [ -f "$work/dev.log" ]; then
        tail -n 40 "$work/dev.log" >&2
    fi
    rm -rf "$work"
    exit "$code"
}
trap finish EXIT

mkdir "$work/stubs"
# shellcheck disable=SC2046 # no name has a space
"$python" -m grpc_tools.protoc "-I$proto" "--python_out=$work/stubs" \
    "--grpc_python_out=$work/stubs" $(find "$proto" -name '*.proto')

"$binary" dev --dir "$vault" --port 0 >"$work/dev.log" 2>&1 &
pid=$!
# dev.json is written last: when it is there, the vault serves.
for ((tenths = 600; ; tenths--)); do
    [ -f "$vault/dev.json" ] && break
    if ((tenths == 0)) || ! kill -0 "$pid" 2>/dev/null; then
        echo "payvault dev did not get ready" >&2
        exit 1
    fi
    sleep 0.1
done

cat >"$work/orders.jsonl" <<'JSONL'
{"reference": "order-1", "details": {"card": {"number": "4242424242424242", "expiry_month": 11, "expiry_year": 2035}}}
{"reference": "order-2", "details": {"card": {"number": "5555555555554444", "expiry_month": 11, "expiry_year": 2035}}}
{"reference": "order-3", "details": {"card": {"number": "378282246310005", "expiry_month": 11, "expiry_year": 2035}}}
JSONL
echo '{"site": "nl", "grants": ["processor-a:capture:number,expiry:1"]}' >"$work/terms.json"
PAYVAULT_DEV=$vault/dev.json PAYVAULT_AS=portal "$binary" import "$work/orders.jsonl" \
    --job "$work/orders.job" --terms "$work/terms.json" --out "$work/tokens.jsonl" | tee "$work/said"
# Settled twice under new request ids, an order has no use left.
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$work/stubs \
    "$python" "$here/python/settle.py" "$vault/dev.json" "$work/tokens.jsonl" | tee -a "$work/said"
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$work/stubs \
    "$python" "$here/python/settle.py" "$vault/dev.json" "$work/tokens.jsonl" | tee -a "$work/said"

grep -q '^order-1: captured, \*\*\*\*4242' "$work/said"
grep -q '^3 of 3 settled' "$work/said"
grep -q '^order-1: no use is left' "$work/said"
grep -q '^0 of 3 settled' "$work/said"
if grep -qE '[0-9]{12}|pvt_a' "$work/said"; then
    echo "an example shows a number or a token" >&2
    exit 1
fi
echo "ok     the example settles a batch"
