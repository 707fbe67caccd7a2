#!/usr/bin/env bash
# Quotas and reserves of disks, and the limit of all memory while the server runs.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --memory 64M --create hog=10G
limit_of() { hm limit "$1" --json | jq "${2:-.}"; }
# fill DISK [BYTES]: writes pages until the error, which it prints with the pages that went in.
fill() {
  DISK=$1 MOST=${2:-10000000000} python <<'EOF_PY'
from wire import *
w, done, error = Wire().go(os.environ["DISK"]), 0, 0
for piece in (65536, 4096):
    while done < int(os.environ["MOST"]):
        error = w.error(WRITE, done, piece, 0, bytes([7]) * piece)
        if error:
            break
        done += piece
print(f"{error} {done}")
EOF_PY
}

quota() {
  hm create small --size 1G --quota 8M
  equal "the quota" "$(limit_of small .quota)" 8388608
  equal "ENOSPC after all but the tables" "$(fill small)" "28 $(((8192 - 5 * 4) * 1024))"
  equal "the charge" "$(limit_of small .charge)" 8388608
  io hog "write -P 3 1G 8M" "read -P 3 1G 8M" "discard 1G 8M"
  io small "read -P 7 0 4M" "write -P 9 0 4M" "read -P 9 0 4M"
  # A discard makes room for as much, at once.
  io small "discard 0 1M" "write -P 5 100M 900k" "read -P 5 100M 900k"
  hm limit small --quota 12M
  io small "write -P 5 200M 3M"
  hm limit small --quota none
  io small "write -P 5 300M 8M"
  hm remove small
}
message() {
  hm create small --size 1G --quota 1M
  python <<'EOF_PY'
from wire import *
reply = Wire().go("small").ask(WRITE, 0, 2 << 20, 0, bytes([1]) * (2 << 20))
same(reply.error, ENOSPC)
assert b"this disk's quota" in reply.chunks[-1][1], reply.chunks
EOF_PY
  hm remove small
}
reserve() {
  hm create kept --size 1G --reserve 16M
  equal "promised" "$(hm limit --json | jq .promised)" 16777216
  local filled
  filled=$(fill hog)
  equal "the hog's error" "${filled% *}" 28
  at_most "what the hog got" "${filled#* }" $((48 << 20))
  # While the hog goes on trying.
  fill hog >"$WORK/hog" & local hog=$!
  equal "what the reserved disk wrote" "$(fill kept $((15 << 20)))" "0 $((15 << 20))"
  wait "$hog"
  equal "the hog's error" "$(cut -d' ' -f1 "$WORK/hog")" 28
  io kept "read -P 7 0 15M" "discard 0 15M"
  fill hog
  equal "what it wrote again" "$(fill kept $((15 << 20)))" "0 $((15 << 20))"
}
fork_of_reserved() {
  refused 'reserve of 16777216 bytes' hm fork kept copy
  equal "the disks" "$(hm list --json | jq -r '[.[].name] | join(" ")')" "hog kept"
  io kept "write -P 8 0 15M"
  refused 'kept for it.*memory limit' hm limit hog --reserve 60M
  io hog "discard 0 1G"
  hm fork kept copy
  equal "the charge" "$(limit_of kept .charge)" 0
  fill hog
  io kept "write -P 9 0 15M" "read -P 9 0 15M"
  io copy "read -P 8 0 15M"
  hm remove kept copy
  equal "promised" "$(hm limit --json | jq .promised)" 0
  io hog "discard 0 1G"
}
forks() {
  io hog "write -P 1 0 4M"
  hm fork hog a b --quota 1M
  equal "a fork's quota" "$(fill a)" "28 $(((1024 - 3 * 4) * 1024))"
  io a "read -P 1 2M 2M"
  io b "write -P 2 0 512k" "read -P 2 0 512k"
  equal "the origin has none" "$(limit_of hog .quota)" null
  hm reset a
  equal "the charge after a reset" "$(limit_of a .charge)" 0
  io a "write -P 2 0 512k" "read -P 1 1M 3M"
  refused 'memory limit' hm fork hog c d --reserve 40M
  equal "the disks" "$(hm list --json | jq -r '[.[].name] | join(" ")')" "a b hog"
  hm remove a b
}
no_hole() {
  hm create thick --size 1G --quota 4M --reserve 4M
  python <<'EOF_PY'
from wire import *
w = Wire().go("thick")
same(w.error(WRITE_ZEROES, 0, 2 << 20, NO_HOLE), 0)
same(w.error(WRITE_ZEROES, 16 << 20, 4 << 20, NO_HOLE), ENOSPC)
same(w.error(TRIM, 0, 1 << 30), 0)
same(w.error(WRITE_ZEROES, 0, 1 << 30), 0)
EOF_PY
  equal "a trim leaves nothing" "$(limit_of thick .charge)" 0
  fill hog
  python <<'EOF_PY'
from wire import *
w = Wire().go("thick")
same(w.error(WRITE_ZEROES, 0, 3 << 20, NO_HOLE), 0)
w.write(0, bytes([1]) * (3 << 20))
EOF_PY
  io hog "discard 0 1G"
  hm remove thick
}
images() {
  head -c 3M /dev/urandom >"$WORK/image"
  refused 'quota' hm import i "$WORK/image" --quota 1M
  hm import i "$WORK/image" --quota 8M --reserve 6M
  [ "$(limit_of i .charge)" -ge $((3 << 20)) ]
  hm export i "$WORK/copy"
  cmp "$WORK/image" "$WORK/copy"
  hm remove i
}
tables() {
  [[ $(hm list) != *QUOTA* ]]
  hm create small --size 1G --quota 8M
  hm list | grep -Eq '^NAME .*OWN +CHARGE +QUOTA +RESERVE'
  hm list | grep -Eq '^small .* 0 B +8 MiB +-'
  hm list | grep -Eq '^hog .* - +- +-'
  hm stat small | grep -Eq '^promised +0 B'
  hm limit small | grep -Eq '^quota +8 MiB'
  hm remove small
}
nonsense() {
  refused 'nobody' hm limit nobody
  refused 'which disk' hm limit --quota 1M
  refused 'all disks' hm limit hog --memory 1G
  refused 'quota' hm limit hog --quota much
  refused '4096' hm limit hog --quota 0
  refused 'more than its quota' hm limit hog --quota 1M --reserve 2M
  refused 'memory limit' hm create more --size 1G --reserve 1T
  refused 'too low' hm limit --memory 1M
  refused 'too high' hm limit --memory 8000T
  equal "the disks" "$(hm list --json | jq -r '[.[].name] | join(" ")')" hog
  equal "the limits" "$(limit_of hog '.quota, .reserve' | tr '\n' ' ')" "null null "
}
memory() {
  equal "the limit" "$(hm limit --json | jq .limit)" $((64 << 20))
  local filled
  filled=$(fill hog)
  hm limit --memory 96M
  io hog "write -P 4 1G 24M" "read -P 4 1G 24M"
  hm limit hog --reserve 90M
  refused 'reserve' hm limit --memory 80M
  hm limit hog --reserve none
  hm limit --memory 32M
  equal "below what is used: a new page" "$(fill hog | cut -d' ' -f1)" 28
  io hog "read -P 4 1G 24M" "write -P 5 1G 24M"
  hm limit --memory 64M
}

check "a quota is ENOSPC for its disk only, to the page" quota
check "the error names the quota" message
check "a reserve survives a server that is full" reserve
check "a fork of a reserved disk needs the reserve again" fork_of_reserved
check "forks with quotas and reserves, all or none" forks
check "zeroes without a hole count and use the reserve" no_hole
check "images: within the quota" images
check "list, stat and limit show limits, where there are any" tables
check "nonsense is refused in words and changes nothing" nonsense
check "the memory limit moves while the server runs" memory
finish
