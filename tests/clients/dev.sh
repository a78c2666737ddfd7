# shellcheck shell=bash
# Sourced by scripts that need a vault: a directory that is gone at the end, and a `payvault dev`.
#
#   work      the directory
#   vault     the vault's own, in it
#   pid       its process; empty when there is none
#   serve     starts BINARY, and returns when it serves
#   identity_key BINARY      prints what collect documents are verified with, once it serves

work=$(mktemp -d "${TMPDIR:-/tmp}/payvault-client.XXXXXX")
vault=$work/vault
pid=

finish() {
    code=$?
    if [ -n "$pid" ]; then
        kill -KILL "$pid" 2>/dev/null || true
    fi
    if [ "$code" -ne 0 ] && [ -f "$work/dev.log" ]; then
        echo "the vault's last lines:" >&2
        tail -n 40 "$work/dev.log" >&2
    fi
    rm -rf "$work"
    exit "$code"
}
trap finish EXIT

# Seconds that a start may take.
start_s=60

serve() {
    "$1" dev --dir "$vault" --port 0 >"$work/dev.log" 2>&1 &
    pid=$!
    local tenths
    # dev.json is written last: when it is there, the vault serves.
    for ((tenths = start_s * 10; ; tenths--)); do
        [ -f "$vault/dev.json" ] && return
        if ! kill -0 "$pid" 2>/dev/null; then
            pid=
            echo "payvault dev ended before it was ready" >&2
            exit 1
        fi
        if ((tenths == 0)); then
            echo "no dev.json after $start_s seconds" >&2
            exit 1
        fi
        sleep 0.1
    done
}

identity_key() {
    PAYVAULT_DEV=$vault/dev.json PAYVAULT_AS=operator "$1" keys identity
}
