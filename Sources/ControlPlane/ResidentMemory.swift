import Glibc

/// This process's resident memory in bytes (`VmRSS`), or 0 if there is no /proc.
package func residentMemory() -> UInt64 {
  let file = unsafe open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { return 0 }
  defer { close(file) }
  // The file has seven numbers of pages. The second is the resident ones.
  var bytes = [UInt8](repeating: 0, count: 256)
  let count = unsafe read(file, &bytes, bytes.count)
  let fields = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self).split(separator: " ")
  guard fields.count > 1, let pages = UInt64(fields[1]) else { return 0 }
  return pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
}
