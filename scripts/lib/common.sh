# Shared by the scripts: where things are, progress lines, packages, processes. Sourced, never run.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
STEERSMAN_HOME=${STEERSMAN_HOME:-/var/lib/steersman}
TARGET=${CARGO_TARGET_DIR:-$REPO/target}
BIN=$TARGET/release
RUST_VERSION=1.95

now_ms() { date +%s%3N; }
STARTED_MS=$(now_ms)
STAGE_MS=$STARTED_MS

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# A line of progress: what was done, and how long it took.
stage_done() {
  local now; now=$(now_ms)
  printf '%6.2fs  %s\n' "$(echo "$now $STAGE_MS" | awk '{print ($1-$2)/1000}')" "$*"
  STAGE_MS=$now
}

need_root() { [ "$(id -u)" = 0 ] || die "must run as root (containers, namespaces and mounts need it)"; }

need_disk() { # folder, MiB
  mkdir -p "$1" || die "cannot make $1"
  local free; free=$(df -Pm "$1" | awk 'NR==2{print $4}')
  [ "$free" -ge "$2" ] || die "$1 has $free MiB free, $2 MiB are needed"
}

# Installs those of the given Debian packages that are missing.
need_packages() {
  local missing=() p
  for p in "$@"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
  done
  [ ${#missing[@]} = 0 ] && return 0
  command -v apt-get >/dev/null || die "these packages are missing and there is no apt-get: ${missing[*]}"
  say "        installing ${missing[*]}"
  apt-get update -qq >/dev/null 2>&1
  # Installing a daemon must not start it: every cluster runs its own.
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && made=1; fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/tmp/steersman-apt.log 2>&1 ||
    { [ -n "$made" ] && rm -f $policy; die "apt-get could not install ${missing[*]}; see /tmp/steersman-apt.log"; }
  [ -n "$made" ] && rm -f $policy
  return 0
}

need_kubectl() { command -v kubectl >/dev/null || need_packages kubernetes-client; }

need_rust() {
  [ -d "$HOME/.cargo/bin" ] && PATH=$HOME/.cargo/bin:$PATH
  local have; have=$(cargo --version 2>/dev/null | awk '{print $2}')
  if [ -n "$have" ] && [ "$(printf '%s\n%s\n' "$RUST_VERSION" "$have" | sort -V | head -1)" = "$RUST_VERSION" ]; then return 0; fi
  if command -v rustup >/dev/null; then
    rustup toolchain install "$RUST_VERSION" --profile minimal -c clippy -c rustfmt && rustup default "$RUST_VERSION" && return 0
  fi
  need_packages curl ca-certificates
  curl -sSf https://sh.rustup.rs | sh -s -- -y -q --profile minimal -c clippy -c rustfmt --default-toolchain "$RUST_VERSION" ||
    die "Rust $RUST_VERSION or newer is needed and could not be installed"
  PATH=$HOME/.cargo/bin:$PATH
}

need_build_tools() { need_packages gcc libc6-dev make protobuf-compiler; need_rust; }

# Builds everything in the one profile that tests and releases share; nothing is done where it is fresh. Always the whole
# workspace: with a part of it cargo would choose other features of shared libraries, and build those a second time.
build() { (cd "$REPO" && cargo build --release --quiet "$@") || die "the build failed"; }

port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The first free port from $1 on.
free_port() { local p=$1; until port_free "$p"; do p=$((p + 1)); done; echo "$p"; }

# Runs a command for good: restarted one second after it ends, its pid and its supervisor's in run/, its output in log/.
# With NETNS set, inside that network namespace.
supervise() { # name command...
  local name=$1; shift
  mkdir -p "$STEERSMAN_HOME/run" "$STEERSMAN_HOME/log"
  local enter=()
  [ -n "${NETNS:-}" ] && enter=(nsenter --net="/run/netns/$NETNS")
  setsid "$REPO/scripts/lib/supervise.sh" "$STEERSMAN_HOME/run/$name" "$STEERSMAN_HOME/log/$name.log" "${enter[@]}" "$@" </dev/null >/dev/null 2>&1 &
  disown
}

# Waits until a command succeeds; after $1 seconds tells what was waited for and where the log is.
wait_for() { # seconds what log-name command...
  local end=$(($(now_ms) + $1 * 1000)) what=$2 log=$3; shift 3
  until "$@" >/dev/null 2>&1; do
    if [ "$(now_ms)" -gt "$end" ]; then
      [ -e "$STEERSMAN_HOME/log/$log.log" ] && tail -n 15 "$STEERSMAN_HOME/log/$log.log" >&2
      die "$what did not come up; its log is $STEERSMAN_HOME/log/$log.log"
    fi
    sleep 0.05
  done
}
