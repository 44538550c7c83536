#!/usr/bin/env bash
# Keeps one command running. Arguments: <run file> <log file> <command...>
# <run file>.supervisor holds this script's pid, <run file>.pid the command's. SIGTERM ends both.
run=$1 log=$2; shift 2
echo $$ >"$run.supervisor"
stop() { trap '' TERM; [ -n "${child:-}" ] && kill -TERM "$child" 2>/dev/null && wait "$child" 2>/dev/null; rm -f "$run.pid" "$run.supervisor"; exit 0; }
trap stop TERM INT
while :; do
  "$@" >>"$log" 2>&1 &
  child=$!
  echo "$child" >"$run.pid"
  wait "$child"
  echo "--- ended with $?, starting again in a second" >>"$log"
  sleep 1 & wait $!
done
