#!/usr/bin/env bash
# Others in the server's control group (v2) stall for memory: the kernel tells the server by PSI, it
# gives up what it can, and the level falls when they are gone.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"
source "$(dirname "$0")/support/cgroup.sh"

WHAT="stalls in the server's control group"
make_group $((256 * 2 ** 20)) || { skip "$WHAT" "$WHY"; finish; exit; }
[ "$VERSION" = 2 ] || { skip "$WHAT" "the memory controller is on v1, which has no PSI"; finish; exit; }
cat "$GROUP/memory.pressure" >/dev/null 2>&1 || { skip "$WHAT" "the kernel runs without PSI"; finish; exit; }
start_in_group --create data=1G

NOISE=8 ZEROS=24  # MiB
written() {
  NOISE=$NOISE ZEROS=$ZEROS python <<'EOF_PY'
from wire import *
w, noise = Wire().go("data"), int(os.environ["NOISE"])
for at in range(noise):
    w.write(at << 20, struct.pack(">Q", at + 1) * (1 << 17))
for at in range(int(os.environ["ZEROS"])):
    w.write((64 + at) << 20, bytes(1 << 20))
EOF_PY
  equal "data" "$(data_of data)" $(((NOISE + ZEROS) << 20))
  equal "pressure" "$(stat_of .pressure)" normal
}
# await SECONDS JQ-CONDITION: until it holds for the status.
await() {
  local end=$((SECONDS + $1))
  until [ "$(stat_of "$2")" = true ]; do
    [ "$SECONDS" -lt "$end" ] || { echo "not within $1 s: $2"; hm stat; cat "$GROUP"/memory.{pressure,events}; return 1; }
    sleep 0.2
  done
}
# Whoever takes memory above memory.high is made to wait, the longer the more it is above, the server
# as well: so only 3 % here, again and again.
cat >"$WORK/hog.py" <<'EOF_PY'
import os, sys, time

group, most, held = os.environ["GROUP"], int(sys.argv[1]), []
while True:
    if int(open(f"{group}/memory.current").read()) < most:
        held.append(bytearray(b"1" * (1 << 18)))
    else:
        del held[-4:]
        time.sleep(0.001)
EOF_PY
stalled() {
  local hog status=0 high=$((128 * 2 ** 20))
  echo $high >"$GROUP/memory.high"
  await 30 ".memoryLimit <= $high"
  sh -c "echo \$\$ >'$GROUP/cgroup.procs'; exec python3 '$WORK/hog.py' $((high * 103 / 100))" &
  hog=$!
  {
    # PSI of the group or of the machine, not memory.events.
    await 60 '(.pressureCause // "") | test("memory.pressure|pressure/memory")' \
      && echo "figure:told by $(stat_of '.pressureCause | sub(".*/(?=.*/)"; "")')" \
      && await 60 ".disks[0].data == $((NOISE << 20))"
  } || status=$?
  kill -KILL $hog
  wait $hog || true
  return $status
}
over() {
  echo max >"$GROUP/memory.high"
  await 60 '.pressure == "normal" and .pressureCause == null'
  NOISE=$NOISE python <<'EOF_PY'
from wire import *
w, noise = Wire().go("data"), int(os.environ["NOISE"])
for at in range(noise):
    same(w.read(at << 20, 1 << 20) == struct.pack(">Q", at + 1) * (1 << 17), True)
same(w.read(64 << 20, 1 << 20) == bytes(1 << 20), True)
w.write(128 << 20, b"\1" * (1 << 20))
EOF_PY
  nobody_killed
}

check "data and zeros are written, the level is normal" written
check "who stalls makes the server give up its zeros" stalled
check "the level falls, nothing is lost, nobody was killed" over
finish
