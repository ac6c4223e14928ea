#!/bin/sh
# Is the process of this container fit to work? Exit status 0: yes.
#
# A service says so itself, on /readyz of MESH_HTTP_PORT. A node has no port: what counts is that its
# connection to NATS stands, because the server closes that of a frozen process after 5 s. Whether the
# mesh gives it work is for the mesh to say: `swarmctl node list`.
set -eu

if [ "${MESH_HTTP_PORT:-0}" -gt 0 ]; then
  exec wget -q -T 2 -O /dev/null "http://127.0.0.1:$MESH_HTTP_PORT/readyz"
fi

# An established connection (state 01) whose far end is a port of NATS_URL.
for url in $(echo "${NATS_URL:-nats://127.0.0.1:4222}" | tr ',' ' '); do
  address="${url#*://}"
  case "$address" in
    *:*) port="${address##*:}" ;;
    *) port=4222 ;;
  esac
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    awk -v "port=$(printf ':%04X' "$port")" '
      $4 == "01" && substr($3, length($3) - 4) == port { found = 1 }
      END { exit !found }
    ' && exit 0
done
echo "no connection to NATS" >&2
exit 1
