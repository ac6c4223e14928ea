#!/usr/bin/env bash
# Installs the mesh on this machine, as units of systemd. A repeat changes nothing; with another
# release it is the upgrade. It starts and restarts nothing: docs/operations.md has the order.
#
#     deploy/install.sh [options] <release>     a directory that deploy/release.sh made
#     deploy/install.sh [options] --uninstall   keys, settings and the store stay
#
#     --parts LIST         what runs here, separated by commas; default all of
#                          nats,registry,coordinator,health-monitor,migrator,authenticator;
#                          there is also dashboard, the page for browsers
#     --nodes LIST         nodes that run here, separated by commas; default none
#     --node FILE          the node binary to use; default that of PATH
#     --nats-server FILE   the nats-server binary to use; default that of PATH
#     --root DIR           installs below DIR, for an image or a look; systemd is told nothing
#     --dry-run            prints what would be done
set -euo pipefail
# The server's user reads the configuration; seeds are made for their owner alone whatever this says.
umask 022

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
parts=nats,registry,coordinator,health-monitor,migrator,authenticator
nodes="" node="" nats_server="" root="" release="" dry_run=false uninstall=false

usage() {
  sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"
}
fail() {
  echo "install.sh: $*" >&2
  exit "${status:-1}"
}
misused() {
  status=2 fail "$*; see --help"
}

while [[ $# -gt 0 ]]; do
  case "$1" in
    --parts) parts="${2?--parts needs a list}" && shift 2 ;;
    --nodes) nodes="${2?--nodes needs a list}" && shift 2 ;;
    --node) node="${2?--node needs a file}" && shift 2 ;;
    --nats-server) nats_server="${2?--nats-server needs a file}" && shift 2 ;;
    --root) root="${2?--root needs a directory}" && shift 2 ;;
    --dry-run) dry_run=true && shift ;;
    --uninstall) uninstall=true && shift ;;
    --help | -h) usage && exit 0 ;;
    -*) misused "unknown option $1" ;;
    *) [[ -z "$release" ]] || misused "one release at a time"
      release="$1" && shift ;;
  esac
done

opt="$root/opt/swarm-mesh"
etc="$root/etc/swarm-mesh"
units="$root/etc/systemd/system"
sysusers="$root/etc/sysusers.d/swarm-mesh.conf"
command="$root/usr/local/bin/swarmctl"
unit_files=(swarm-mesh.target swarm-mesh-nats.service swarm-mesh@.service swarm-mesh-node@.service
  swarm-mesh-dashboard.service)
drop_in=swarm-mesh@authenticator.service.d/issuer.conf

# Changes happen here alone, so that a dry run can name each.
run() {
  echo "+ $*"
  if ! $dry_run; then "$@"; fi
}
systemd() {
  if [[ -z "$root" ]]; then run systemctl "$@"; fi
}

# A file of ours: written when it is missing or differs.
put() {
  if ! cmp -s "$1" "$2"; then run install -D -m "${3:-0644}" "$1" "$2"; fi
}
# A file of the operator's: written when it is missing, and never again.
offer() {
  if [[ ! -e "$1" ]]; then run write "$1" "$2"; fi
}
write() {
  mkdir -p "$(dirname "$1")"
  printf '%s\n' "$2" >"$1"
}

units_here() {
  local part
  for part in ${parts//,/ }; do
    case "$part" in
      nats) echo swarm-mesh-nats.service ;;
      dashboard) echo swarm-mesh-dashboard.service ;;
      registry | coordinator | health-monitor | migrator | authenticator) echo "swarm-mesh@$part.service" ;;
      *) misused "there is no part $part" ;;
    esac
  done
  for part in ${nodes//,/ }; do
    [[ "$part" =~ ^[A-Za-z0-9_-]{1,64}$ ]] || misused "$part is no node id"
    echo "swarm-mesh-node@$part.service"
  done
}

# Units cannot see homes: a binary there is copied, any other is linked, so that its updates count.
binary() {
  local name="$1" from="$2" to="$opt/bin/$1"
  if [[ -z "$from" ]]; then from="$(command -v "$name" || true)"; fi
  [[ -x "$from" && -f "$from" ]] || fail "there is no $name; name one with --$name FILE"
  from="$(realpath "$from")"
  case "$from" in
    /home/* | /root/* | /tmp/* | /run/user/*) put "$from" "$to" 0755 ;;
    *) if [[ "$(readlink "$to" || true)" != "$from" ]]; then
      run mkdir -p "$opt/bin"
      run ln -sfn "$from" "$to"
    fi ;;
  esac
}

# Releases stand side by side, named for what is in them, and `current` points to one: the way back is
# to point it to the other.
put_release() {
  local sum name
  sum="$(cd "$release" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12)"
  name="$(sed -n 's/^  "version": "\(.*\)",$/\1/p' "$release/package.json")-$sum"
  if [[ ! -d "$opt/releases/$name" ]]; then
    run mkdir -p "$opt/releases"
    # Under another name first, so that half a copy is never taken for a release.
    run rm -rf "$opt/releases/.draft"
    run cp -R "$release" "$opt/releases/.draft"
    run chmod -R u=rwX,go=rX "$opt/releases/.draft"
    run mv "$opt/releases/.draft" "$opt/releases/$name"
  fi
  if [[ "$(readlink "$opt/current" || true)" != "releases/$name" ]]; then
    run ln -sfn "releases/$name" "$opt/.current"
    run mv -T "$opt/.current" "$opt/current"
  fi
}

put_settings() {
  local service port=8231 id
  offer "$etc/mesh.env" "# Read by every service and node of this machine: docs/configuration.md.
NATS_URL=nats://127.0.0.1:4222"
  # On 127.0.0.1: curl http://127.0.0.1:8231/readyz
  for service in coordinator registry health-monitor migrator authenticator; do
    offer "$etc/$service.env" "MESH_HTTP_PORT=$port"
    port=$((port + 1))
  done
  if [[ ",$parts," == *,dashboard,* ]]; then
    offer "$etc/dashboard.env" "# Where browsers reach nats-server: its websocket block, docs/dashboard.md.
NATS_WEBSOCKET=ws://127.0.0.1:9222
DASHBOARD_FLAGS=\"--port 4280\""
  fi
  for id in ${nodes//,/ }; do
    offer "$etc/nodes/$id.env" "# Flags of \`swarmctl node run\`; its programs find the variables here in their environment.
NODE_FLAGS=\"--slots 4 --handle echo=cat --handle 'wordcount=wc -w'\""
  done
}

# Keys are made where the server is; another machine is brought the seeds of its own parts.
put_keys() {
  if [[ ",$parts," != *,nats,* ]]; then return; fi
  local made="$etc/keys/admin.nk" id conf
  # Brought from the first of several servers: keys made here would shut everybody out of this one.
  if [[ ! -e "$made" && -e "$etc/users.conf" ]]; then return; fi
  for id in ${nodes//,/ }; do
    if [[ ! -e "$etc/keys/$id.nk" && ! -e "$etc/keys/$id.pub" ]]; then made=""; fi
  done
  for conf in nats-server.conf accounts.conf; do
    if ! cmp -s "$release/$conf" "$etc/$conf"; then made=""; fi
  done
  if [[ -n "$made" && -e "$made" ]]; then return; fi
  run mkdir -p "$etc"
  run "$opt/bin/node" "$opt/current/packages/cli/bin/swarmctl.js" keys init --dir "$etc" --nodes "$nodes"
}

install_all() {
  [[ -n "$release" ]] || misused "which release"
  [[ -e "$release/packages/cli/dist/main.js" ]] || fail "$release is no release; deploy/release.sh makes one"
  local here_units unit
  here_units="$(units_here)"
  binary node "$node"
  if [[ ",$parts," == *,nats,* ]]; then binary nats-server "$nats_server"; fi
  put_release
  for unit in "${unit_files[@]}"; do put "$here/systemd/$unit" "$units/$unit"; done
  put "$here/systemd/$drop_in" "$units/$drop_in"
  put "$here/systemd/swarm-mesh.sysusers" "$sysusers"
  put "$here/systemd/swarmctl" "$command" 0755
  put_settings
  put_keys
  if [[ -z "$root" ]]; then run systemd-sysusers "$sysusers"; fi
  # The server reads its key itself; the authority's stays root's.
  if [[ -z "$root" && -e "$etc/tls/server.key" ]]; then run chown swarm-mesh-nats "$etc/tls/server.key"; fi
  systemd daemon-reload
  # shellcheck disable=SC2086 # one word each
  systemd --quiet enable swarm-mesh.target $here_units
  echo "installed; docs/operations.md says what comes next, which is: systemctl start swarm-mesh.target"
}

uninstall_all() {
  [[ -z "$release" ]] || misused "--uninstall needs no release"
  local unit
  # Nodes first, while there are services to hand their tasks back to.
  systemd stop 'swarm-mesh-node@*.service'
  systemd stop 'swarm-mesh@*.service'
  systemd stop swarm-mesh-dashboard.service
  systemd stop swarm-mesh-nats.service swarm-mesh.target
  for unit in "${unit_files[@]}"; do
    if [[ -e "$units/$unit" ]]; then
      systemd disable "$unit"
      run rm "$units/$unit"
    fi
  done
  # Beside it may be what `systemctl edit` wrote, which is the operator's.
  if [[ -e "$units/$drop_in" ]]; then
    run rm "$units/$drop_in"
    run rmdir --ignore-fail-on-non-empty "$(dirname "$units/$drop_in")"
  fi
  if [[ -e "$units/swarm-mesh.target.wants" ]]; then run rm -r "$units/swarm-mesh.target.wants"; fi
  if [[ -e "$sysusers" ]]; then run rm "$sysusers"; fi
  if [[ -e "$command" ]]; then run rm "$command"; fi
  if [[ -e "$opt" ]]; then run rm -rf "$opt"; fi
  systemd daemon-reload
  echo "uninstalled; $etc (keys and settings) and $root/var/lib/swarm-mesh-nats (the store) are still there"
}

if ! $dry_run && [[ -z "$root" && "$(id -u)" != 0 ]]; then fail "needs root, or --root or --dry-run"; fi
if $uninstall; then uninstall_all; else install_all; fi
