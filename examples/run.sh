#!/usr/bin/env bash
# Runs the examples against a `payvault dev`: a portal imports a few orders and checks others out, a
# processor settles them all.
#
#   run.sh PYTHON BINARY      PYTHON has examples/python/requirements.txt installed; node and npm are on
#                             the path
set -euo pipefail

python=$1
binary=$2
here=$(cd "$(dirname "$0")" && pwd)
proto=$here/../proto
# shellcheck source=tests/clients/dev.sh
source "$here/../tests/clients/dev.sh"

discreet() {
    if grep -qE '[0-9]{12}|pvt_a' "$work/said"; then
        echo "an example shows a number or a token" >&2
        exit 1
    fi
}

mkdir "$work/stubs"
# shellcheck disable=SC2046 # no name has a space
"$python" -m grpc_tools.protoc "-I$proto" "--python_out=$work/stubs" \
    "--grpc_python_out=$work/stubs" $(find "$proto" -name '*.proto')

serve "$binary"

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
discreet
echo "ok     the Python example settles a batch"

identity=$(PAYVAULT_DEV=$vault/dev.json PAYVAULT_AS=operator "$binary" keys identity)
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$work/stubs \
    "$python" "$here/python/seal.py" "$vault/dev.json" "$identity" | tee "$work/said"
grep -q '^sealed: 424242\*\*\*\*\*\*4242' "$work/said"
grep -q '^again: the same token' "$work/said"
grep -q '^replayed: SEALED_DETAILS_REFUSED' "$work/said"
grep -q '^redeemed: what was sealed' "$work/said"
discreet
# With another vault's key it seals nothing.
other=payvault/vlt_bcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbc/identity+${identity#*+}
if PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$work/stubs \
    "$python" "$here/python/seal.py" "$vault/dev.json" "$other" >"$work/said" 2>&1; then
    echo "the Python example seals to whom it does not know" >&2
    exit 1
fi
grep -q "isn't signed by the vault" "$work/said"
echo "ok     the Python example seals a card"

cp "$here"/node/*.json "$here"/node/*.yaml "$here"/node/*.ts "$work/"
(
    cd "$work"
    npm ci --silent --no-fund --no-audit --ignore-scripts
    PATH=$work/node_modules/.bin:$PATH
    buf generate "$proto"
    tsc
)
node "$work/built/checkout.js" "$vault/dev.json" "$work/checked-out.jsonl" | tee "$work/said"
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$work/stubs \
    "$python" "$here/python/settle.py" "$vault/dev.json" "$work/checked-out.jsonl" | tee -a "$work/said"
grep -q '^card: 424242\*\*\*\*\*\*4242' "$work/said"
grep -q '^mistyped: refused (InvalidArgument)' "$work/said"
grep -q '^2 of 2 settled' "$work/said"
discreet
echo "ok     the Node example checks out"
