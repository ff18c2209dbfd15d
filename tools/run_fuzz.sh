#!/bin/bash
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
#
# run_fuzz.sh TREE TARGET SECONDS: one fuzz target on its corpora: what is checked in (fuzz/corpus/NAME) and what
# this tree has found (TREE/fuzz/TARGET.corpus). Prints one line, or the whole log when it fails.
set -u
tree=$1 target=$2 seconds=$3
found=$tree/fuzz/$target.corpus crashes=$tree/fuzz/crashes log=$tree/fuzz/$target.log
seeds=fuzz/corpus/${target%_fuzz}
mkdir -p "$found" "$crashes"
dirs=("$found")
[ -d "$seeds" ] && dirs+=("$seeds")
if timeout $((seconds + 120)) "$tree/fuzz/$target" \
    -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$crashes/$target-" "${dirs[@]}" >"$log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "$target: $runs runs, no failure"
else
    tail -60 "$log"
    echo "$target: FAILED (log: $log)"
    exit 1
fi
