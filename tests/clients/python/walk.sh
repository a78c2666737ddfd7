#!/usr/bin/env bash
# Starts `payvault dev`, lets the Python client walk the road, checks its export offline with two
# verifiers, and stops the vault.
#
#   walk.sh PYTHON BINARY      PYTHON has requirements.txt installed
set -euo pipefail

python=$1
binary=$2
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/clients/dev.sh
source "$here/../dev.sh"

# Seconds that the end may take before the walk gives up.
stop_s=20

serve "$binary"

PYTHONDONTWRITEBYTECODE=1 "$python" "$here/road.py" "$vault" --export "$work/export.jsonl"

key=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["ledger_key"])' "$vault/dev.json")
"$binary" log verify "$work/export.jsonl" --key "$key"
echo "ok     the export verifies offline"

"$python" "$here/../../../tools/verify_export.py" "$work/export.jsonl" --key "$key"
echo "ok     and so says the verifier in Python, which shares no code with the vault"

# Both verifiers must be able to say no, at the same line. The files' names say where.
mkdir "$work/bent"
"$python" "$here/bend.py" "$work/export.jsonl" "$work/bent"
for bent in "$work"/bent/*.jsonl; do
    name=$(basename "$bent" .jsonl)
    for verifier in vault python; do
        code=0
        if [ "$verifier" = vault ]; then
            "$binary" log verify "$bent" --key "$key" >"$work/bent.out" 2>&1 || code=$?
        else
            "$python" "$here/../../../tools/verify_export.py" "$bent" --key "$key" \
                >"$work/bent.out" 2>&1 || code=$?
        fi
        if [ "$code" -ne 6 ] || ! grep -q "line ${name%%-*}:" "$work/bent.out"; then
            cat "$work/bent.out" >&2
            echo "$name: the verifier ($verifier) ended with $code, or named another line" >&2
            exit 1
        fi
    done
done
echo "ok     an export that was changed is refused, by both, at the line that was"

if grep -qF -e NL91ABNA0417164300 -e Canary "$work/dev.log"; then
    echo "the vault's log holds what was sent" >&2
    exit 1
fi
echo "ok     nothing that was sent is in the vault's log"

kill -TERM "$pid"
for ((tenths = stop_s * 10; ; tenths--)); do
    kill -0 "$pid" 2>/dev/null || break
    if ((tenths == 0)); then
        echo "the vault still runs $stop_s seconds after SIGTERM" >&2
        exit 1
    fi
    sleep 0.1
done
code=0
wait "$pid" || code=$?
pid=
if [ "$code" -ne 0 ]; then
    echo "the vault ended with exit code $code after SIGTERM" >&2
    exit 1
fi
echo "ok     SIGTERM ends the vault cleanly"
