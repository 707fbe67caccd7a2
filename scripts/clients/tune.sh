#!/usr/bin/env bash
# Knobs by the kernel's names, and what the one that matters does: 4 KiB pages that fill their 2 MiB
# become huge frames in the background, in whatever order they were written.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create data=1G
counter() { hm stat --json | jq -r ".counters[] | select(.name == \"$1\") | .value"; }

knobs() {
  hm tune >"$WORK/knobs"
  grep -qE '^enabled +collapse$' "$WORK/knobs"
  grep -qE '^khugepaged/max_ptes_none +0$' "$WORK/knobs"
  equal "one that was set" "$(hm tune khugepaged/scan_sleep_millisecs=60000 --json |
    jq -r '.[] | select(.name == "khugepaged/scan_sleep_millisecs") | .value')" 60000
}
refused() {
  local message
  message=$(hm tune enabled=sometimes defrag=never 2>&1) && return 1
  [[ $message == *sometimes* && $message == *madvise* ]]
  message=$(hm tune speed=11 2>&1) && return 1
  [[ $message == *speed* && $message == *use_zero_page* ]]
  equal "what was set beside it" "$(hm tune --json | jq -r '.[] | select(.name == "defrag") | .value')" \
    madvise
}
# 8 MiB in shuffled pages, 2 MiB with a page missing, and 2 MiB that a fork shares.
collapse() {
  python <<'EOF_PY'
from wire import *
import random
w = Wire().go("data")
pages = list(range(2048)) + list(range(4096, 4096 + 511)) + list(range(8192, 8192 + 512))
random.Random(1).shuffle(pages)
for page in pages:
    w.write(page << 12, bytes([page & 255 | 1]) * 4096)
EOF_PY
  hm fork data copy
  python <<'EOF_PY'
from wire import *
w = Wire().go("data")
for page in range(2048):
    w.write(page << 12, bytes([page & 255 | 1]) * 4096)
EOF_PY
  # Only now may the background begin: it would have collapsed what the fork shares.
  hm tune khugepaged/scan_sleep_millisecs=100 >/dev/null
  for _ in $(seq 100); do
    [ "$(counter thp_collapse_alloc)" -lt 4 ] || break
    sleep 0.1
  done
  sleep 0.5
  equal "huge frames made" "$(counter thp_collapse_alloc)" 4
}
contents() {
  python <<'EOF_PY'
from wire import *
for name in ["data", "copy"]:
    w = Wire().go(name)
    for page in list(range(2048)) + list(range(4096, 4096 + 511)):
        same(w.read(page << 12, 4096), bytes([page & 255 | 1]) * 4096)
EOF_PY
}

check "knobs are shown and set" knobs
check "a wrong one changes nothing and says what there is" refused
check "dense pages of a disk's own become huge frames, others do not" collapse
check "the contents are what they were" contents
finish
