#!/usr/bin/env bash
# Stops the cluster of $STEERSMAN_HOME and removes every trace of it. With --keep-state the folder stays (certificates,
# etcd's data, images), so that up.sh brings the same cluster back.
set -u
. "$(dirname "$0")/lib/common.sh"
KEEP= QUIET=
for arg in "$@"; do
  case $arg in
    --keep-state) KEEP=1 ;;
    --quiet) QUIET=1 ;;
    -h|--help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
    *) die "unknown argument $arg" ;;
  esac
done
need_root
[ -d "$STEERSMAN_HOME" ] || { [ -n "$QUIET" ] || say "nothing is there at $STEERSMAN_HOME"; exit 0; }
. "$REPO/scripts/lib/node.sh"

# Supervisors first: they end what they watch. Then whoever is left, by pid.
stop_all() { # signal suffix
  local f pid
  for f in "$STEERSMAN_HOME"/run/*."$2"; do
    [ -e "$f" ] || continue
    pid=$(cat "$f" 2>/dev/null)
    [ -n "$pid" ] && kill -"$1" "$pid" 2>/dev/null
  done
}
any_left() {
  local f pid
  for f in "$STEERSMAN_HOME"/run/*.pid "$STEERSMAN_HOME"/run/*.supervisor; do
    [ -e "$f" ] && pid=$(cat "$f" 2>/dev/null) && [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && return 0
  done
  return 1
}
# Containers: their shims carry the socket's path; killing a shim's container is killing its whole cgroup.
kill_containers() {
  local shim group
  for group in /sys/fs/cgroup/steersman-* /sys/fs/cgroup/*/steersman-*; do
    [ -d "$group" ] || continue
    find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -un | xargs -r kill -9 2>/dev/null
  done
  for shim in $(pgrep -f "containerd-shim.*-address $STEERSMAN_HOME/nodes/"); do kill -9 "$shim" 2>/dev/null; done
}
had_nodes=; [ -d "$STEERSMAN_HOME/nodes" ] && had_nodes=1
stop_all TERM supervisor
for _ in $(seq 100); do any_left || break; sleep 0.05; done
stop_all KILL supervisor
stop_all KILL pid
rm -rf "$STEERSMAN_HOME/run"
if [ -n "$had_nodes" ]; then
  kill_containers
  for _ in 1 2 3; do
    awk -v h="$STEERSMAN_HOME/" 'index($2,h)==1{print $2}' /proc/mounts | sort -r | xargs -r -n1 umount -l 2>/dev/null
  done
  for dir in "$STEERSMAN_HOME"/nodes/*; do
    [ -d "$dir" ] || continue
    i=$(basename "$dir")
    # The namespaces of pods carry names that containerd gave them.
    ip netns del "$(node_name "$i")" 2>/dev/null
    ip link del "st-$i" 2>/dev/null
  done
  for ns in $(ip netns list 2>/dev/null | awk '/^cni-/{print $1}'); do
    [ -z "$(ip netns pids "$ns" 2>/dev/null)" ] && ip netns del "$ns" 2>/dev/null
  done
  ip route flush dev $BRIDGE proto boot 2>/dev/null
  ip link del $BRIDGE 2>/dev/null
  nft delete table ip steersman 2>/dev/null
  for group in /sys/fs/cgroup/steersman-* /sys/fs/cgroup/*/steersman-*; do
    [ -d "$group" ] && find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
  done
  # What containers and pods left is of no use to the next cluster; images are kept in images/.
  rm -rf "$STEERSMAN_HOME/nodes"
fi
if [ -z "$KEEP" ]; then rm -rf "$STEERSMAN_HOME"; [ -n "$QUIET" ] || say "removed $STEERSMAN_HOME and all that ran from it"; fi
exit 0
