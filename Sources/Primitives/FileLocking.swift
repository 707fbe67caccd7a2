import Glibc

/// Locks an open file for this open file description alone (`flock(2)`). Returns 0, or the errno:
/// EWOULDBLOCK if another has the lock.
///
/// `patience` is how long to wait for another that is ending, in milliseconds: a process that was killed has
/// its locks until the system has freed its memory.
package func takeFileLock(_ descriptor: Int32, patience: Int = 0) -> Int32 {
  var waited = 0
  while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
    if errno == EINTR { continue }
    guard errno == EWOULDBLOCK, waited < patience else { return errno }
    usleep(10_000)
    waited += 10
  }
  return 0
}
