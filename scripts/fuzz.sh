#!/usr/bin/env bash
# Feeds every parser with mutated input for a bounded time. See --help.
set -u
. "$(dirname "$0")/lib/common.sh"

usage() {
  cat <<EOF
Fuzzes every parser that reads what a client sent (tests/fuzz), with the one stable compiler and libFuzzer.

  scripts/fuzz.sh [SECONDS [TARGET...]]

  SECONDS   for each target (default 60)
  TARGET    only these; the names are in tests/fuzz/src/main.rs

Inputs that reach new code are kept in tests/fuzz/corpus, failing ones in tests/fuzz/artifacts.
EOF
}
case ${1:-} in -h|--help) usage; exit 0 ;; esac
SECONDS_EACH=${1:-60}; shift || true
[[ $SECONDS_EACH =~ ^[1-9][0-9]*$ ]] || { usage >&2; die "SECONDS is a number"; }
TARGETS=("$@")
cd "$REPO/tests/fuzz" || exit 1
[ $# -gt 0 ] || mapfile -t TARGETS < <(sed -n 's/^    ("\([a-z-]*\)", .*/\1/p' src/main.rs)
need_root
need_build_tools
need_packages g++
# The flags that libFuzzer's counters need. They are for the target alone, not for build scripts.
HOST=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
CARGO_TARGET_DIR=$REPO/tests/fuzz/target cargo build --release --quiet --target "$HOST" || die "the build failed"
stage_done "targets are built"
PASSED=0 FAILED=0
for target in "${TARGETS[@]}"; do
  mkdir -p "corpus/$target" artifacts
  if FUZZ_TARGET=$target "target/$HOST/release/steersman-fuzz" "corpus/$target" -max_total_time="$SECONDS_EACH" -max_len=65536 \
    -timeout=10 -rss_limit_mb=1024 -artifact_prefix="artifacts/$target-" -print_final_stats=1 >"artifacts/$target.log" 2>&1; then
    PASSED=$((PASSED + 1)); stage_done "ok    $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "artifacts/$target.log") runs"
  else
    FAILED=$((FAILED + 1)); tail -n 30 "artifacts/$target.log"; stage_done "FAIL  $target"
  fi
done
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
