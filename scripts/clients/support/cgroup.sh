# Sourced after lib.sh: the server in a control group of its own, below this process's. v1 and v2.

# make_group BYTES: sets GROUP, and whether it is VERSION 1 or 2; or WHY not, and fails.
make_group() {
  local own parent
  WHY="needs root" GROUP=
  [ "$(id -u)" = 0 ] || return 1
  own=$(sed -n 's/^[0-9]*:\([^:]*,\)\?memory\(,[^:]*\)\?:\(.*\)/\3/p' /proc/self/cgroup)
  if [ -n "$own" ]; then
    VERSION=1 GROUP=/sys/fs/cgroup/memory$own/hugemem.$$
    WHY="no control group may be made in ${GROUP%/*}"
    mkdir "$GROUP" 2>/dev/null || { GROUP=; return 1; }
    echo "$1" >"$GROUP/memory.limit_in_bytes"
    # Where swap is counted: no way out of the limit.
    [ ! -e "$GROUP/memory.memsw.limit_in_bytes" ] || echo "$1" >"$GROUP/memory.memsw.limit_in_bytes"
  else
    # Beside this process's group if it has none below it, since only groups without processes may.
    VERSION=2 WHY="the memory controller is not delegated to this process's control group (v2)"
    own=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
    for parent in "$own" "${own%/*}"; do
      [ "${parent#/sys/fs/cgroup}" != "$parent" ] || continue
      echo +memory 2>/dev/null >"$parent/cgroup.subtree_control" || true
      GROUP=$parent/hugemem.$$
      if mkdir "$GROUP" 2>/dev/null; then
        [ ! -e "$GROUP/memory.max" ] || break
        rmdir "$GROUP"
      fi
      GROUP=
    done
    [ -n "$GROUP" ] || return 1
    echo "$1" >"$GROUP/memory.max"
    [ ! -e "$GROUP/memory.swap.max" ] || echo 0 >"$GROUP/memory.swap.max"
  fi
  export GROUP
  at_exit remove_group
}
remove_group() {
  local _
  if [ -n "$SERVER" ]; then
    kill -KILL "$SERVER" 2>/dev/null || true
    wait "$SERVER" 2>/dev/null || true
    SERVER=
  fi
  # Its last process is gone when the kernel says so.
  for _ in $(seq 50); do rmdir "$GROUP" 2>/dev/null && return; sleep 0.1; done
}
# start_in_group [OPTION...]: a server, and nothing else, in it.
start_in_group() {
  local program=$HUGEMEM
  printf '#!/bin/sh\necho $$ >"%s/cgroup.procs"\nexec "%s" "$@"\n' "$GROUP" "$program" >"$WORK/in-group"
  chmod +x "$WORK/in-group"
  HUGEMEM=$WORK/in-group
  start "$@"
  HUGEMEM=$program
  export SERVER
}
# figure_of V1-FILE V2-FILE: a number of the group's.
figure_of() { cat "$GROUP/$([ "$VERSION" = 1 ] && echo "$1" || echo "$2")"; }
group_used() { figure_of memory.usage_in_bytes memory.current; }
oom_kills() { figure_of memory.oom_control memory.events | sed -n 's/^oom_kill //p'; }
# nobody_killed: the server is the one that was started, answers, and the kernel has killed nothing.
nobody_killed() {
  equal "processes that the kernel killed for memory" "$(oom_kills)" 0
  kill -0 "$SERVER" || { echo "the server is gone"; return 1; }
  grep -qx "$SERVER" "$GROUP/cgroup.procs" || { echo "the server is not in its group"; return 1; }
  hm list >/dev/null
  echo "figure:of the group $(($(group_used) >> 20)) MiB are used, the server's limit is $(($(stat_of .memoryLimit) >> 20)) MiB"
}
