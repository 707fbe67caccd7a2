#!/usr/bin/env bash
# File systems: a disk as a file by nbdfuse, as a block device by losetup, with ext4 and XFS made,
# filled, trimmed and checked on it. Needs root, FUSE and a loop device.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --create ext4=2G --create xfs=2G

# Whatever a failure left: mounts, loop devices and nbdfuse, in this order.
undo() {
  local point device file
  for point in "$WORK"/*.mnt; do mountpoint -q "$point" 2>/dev/null && umount "$point"; done
  for file in "$WORK"/*.fuse/nbd; do
    for device in $(losetup -n -O NAME -j "$file" 2>/dev/null); do losetup -d "$device"; done
  done
  for point in "$WORK"/*.fuse; do mountpoint -q "$point" 2>/dev/null && umount "$point"; done
  return 0
}
at_exit undo

# attach DISK: $WORK/DISK.loop has the name of its block device.
attach() {
  mkdir -p "$WORK/$1.fuse" "$WORK/$1.mnt"
  nbdfuse "$WORK/$1.fuse/nbd" "$(uri "$1")" >/dev/null 2>"$WORK/$1.log" &
  local _
  for _ in $(seq 100); do [ ! -e "$WORK/$1.fuse/nbd" ] || break; sleep 0.05; done
  losetup --show -f "$WORK/$1.fuse/nbd" >"$WORK/$1.loop"
  loop_of "$1"
}
loop_of() { cat "$WORK/$1.loop"; }
detach() { losetup -d "$(loop_of "$1")"; umount "$WORK/$1.fuse"; }

# What is missing here, found out without the server: what fails with it is a failure.
missing() {
  local command device
  for command in nbdfuse losetup mkfs.ext4 e2fsck; do
    have "$command" || { echo "no $command"; return; }
  done
  [ "$(id -u)" = 0 ] || { echo "needs root"; return; }
  (: <>/dev/fuse) 2>/dev/null || { echo "/dev/fuse cannot be opened"; return; }
  truncate -s 1M "$WORK/probe"
  device=$(losetup --show -f "$WORK/probe" 2>&1) || { echo "no loop device: $device"; return; }
  losetup -d "$device"
  mkdir "$WORK/probe.mnt"
  mount -t tmpfs none "$WORK/probe.mnt" 2>/dev/null || { echo "mounts are not allowed"; return; }
  umount "$WORK/probe.mnt"
}

# fill_and_trim DISK MOUNT-OPTIONS: the same work on every file system.
fill_and_trim() {
  local mnt=$WORK/$1.mnt full trimmed
  mount -o "$2" "$(loop_of "$1")" "$mnt"
  cp -r /etc "$mnt/"
  head -c 200M /dev/urandom >"$mnt/random"
  (cd "$mnt" && find . -type f -exec sha256sum {} + >"$WORK/$1.sums")
  umount "$mnt"
  mount -o "$2" "$(loop_of "$1")" "$mnt"
  (cd "$mnt" && sha256sum --quiet -c "$WORK/$1.sums")
  full=$(data_of "$1")
  rm "$mnt/random"
  # XFS frees a removed file's blocks some time later, and at an unmount at the latest.
  umount "$mnt"
  mount -o "$2" "$(loop_of "$1")" "$mnt"
  fstrim -v "$mnt"
  umount "$mnt"
  trimmed=$(data_of "$1")
  echo "figure:$((full >> 20)) MiB of data with a file of 200 MiB, $((trimmed >> 20)) MiB after its removal and fstrim"
  at_most "data after fstrim" "$trimmed" $((full - 190 * 2 ** 20))
}
ext4_made() { mkfs.ext4 -q "$(loop_of ext4)"; }
ext4_filled() { fill_and_trim ext4 defaults; }
ext4_sound() { e2fsck -fn "$(loop_of ext4)"; }
# A fork of a file system in use: as after a loss of power at that moment, so its journal mends it.
ext4_forked() {
  mount "$(loop_of ext4)" "$WORK/ext4.mnt"
  head -c 20M /dev/urandom >"$WORK/ext4.mnt/before"
  sync -f "$WORK/ext4.mnt"
  (while :; do head -c 1M /dev/urandom >"$WORK/ext4.mnt/during"; sync -f "$WORK/ext4.mnt"; done) &
  local writer=$!
  hm fork ext4 forked
  kill "$writer"
  wait "$writer" || true
  hm export forked "$WORK/forked"
  e2fsck -fp "$WORK/forked" || [ $? = 1 ] # 1: the journal was replayed
  e2fsck -fn "$WORK/forked"
  debugfs -R "dump /before $WORK/before" "$WORK/forked"
  cmp "$WORK/before" "$WORK/ext4.mnt/before"
  umount "$WORK/ext4.mnt"
}
xfs_made() { attach xfs; mkfs.xfs -q "$(loop_of xfs)"; }
xfs_filled() { fill_and_trim xfs nouuid; }
xfs_sound() { xfs_repair -n "$(loop_of xfs)"; }

reason=$(missing)
if [ -n "$reason" ]; then
  skip "ext4 and XFS" "$reason"
else
  check "ext4: attached by nbdfuse and losetup" attach ext4
  check "mkfs.ext4" ext4_made
  check "ext4: files, again after a remount, fstrim" ext4_filled
  check "ext4: e2fsck" ext4_sound
  check "ext4: a fork of it in use, mended by its journal" ext4_forked
  check "ext4: detached" detach ext4
  if ! have mkfs.xfs; then
    skip "XFS" "no mkfs.xfs"
  elif ! modprobe -q xfs 2>/dev/null && ! grep -qw xfs /proc/filesystems; then
    skip "XFS" "this kernel has no XFS"
  else
    check "mkfs.xfs" xfs_made
    check "XFS: files, again after a remount, fstrim" xfs_filled
    check "XFS: xfs_repair -n" xfs_sound
    check "XFS: detached" detach xfs
  fi
fi
undo
finish
