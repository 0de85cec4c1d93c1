# Makes a random client key for a local run and exports it with its hash. To be sourced:
#
#   . scripts/demo_key.sh
#
# GATEWAY_DEMO_KEY         what a client sends: Authorization: Bearer $GATEWAY_DEMO_KEY
# GATEWAY_DEMO_KEY_SHA256  what the gateway is given; it never sees the key itself
#
# The key lives in this shell and is written nowhere. A key that is already set is kept, so that a restarted gateway
# still knows its clients. Plain POSIX sh, so that bash, zsh and dash can all source it.
# shellcheck shell=sh

if [ -z "${GATEWAY_DEMO_KEY:-}" ]; then
  GATEWAY_DEMO_KEY="bw-$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
fi
if command -v sha256sum >/dev/null 2>&1; then
  GATEWAY_DEMO_KEY_SHA256="$(printf '%s' "$GATEWAY_DEMO_KEY" | sha256sum | cut -d ' ' -f 1)"
else
  GATEWAY_DEMO_KEY_SHA256="$(printf '%s' "$GATEWAY_DEMO_KEY" | shasum -a 256 | cut -d ' ' -f 1)"
fi
export GATEWAY_DEMO_KEY GATEWAY_DEMO_KEY_SHA256
echo "GATEWAY_DEMO_KEY and GATEWAY_DEMO_KEY_SHA256 are set in this shell"
