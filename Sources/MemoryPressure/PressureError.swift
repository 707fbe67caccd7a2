import Glibc

/// Why a source of memory pressure, or a control group, cannot be used.
public enum PressureError: Error, Equatable, Sendable, CustomStringConvertible {
  /// A system call failed.
  case system(call: String, path: String, errno: Int32)
  /// A file does not contain what it should.
  case malformed(path: String, found: String, expected: String)
  /// No control group of this version that the process belongs to is visible.
  case noGroup(ControlGroup.Version, reason: String)
  /// Neither the control group nor any group above it has a limit to compare its use with.
  case noLimit(group: String)
  /// The control group was removed while its file was in use.
  case removed(path: String)
  /// A source was required, and none can be used.
  case noSource([UnavailableSource])
  /// The system could not start another thread.
  case noThread

  public var description: String {
    switch self {
    case .system(let call, let path, let errno):
      "\(call) of \(path) failed: \(unsafe String(cString: strerror(errno))); \(Self.advice(errno))"
    case .malformed(let path, let found, let expected):
      "\(path) holds \"\(found)\" and not \(expected); check that it is the kernel's file"
    case .noGroup(let version, let reason):
      "no memory control group of cgroup \(version): \(reason)"
    case .noLimit(let group):
      "no limit is set at \(group) or above; set one so that its use can be watched"
    case .removed(let path):
      "the control group of \(path) was removed; make a new monitor for the present group"
    case .noSource(let refused):
      "no source of memory pressure can be used on this machine: "
        + refused.map(\.description).joined(separator: "; ")
    case .noThread:
      "cannot start a thread for the monitor; raise the limit of processes (ulimit -u)"
    }
  }

  private static func advice(_ errno: Int32) -> String {
    switch errno {
    case ENOENT, ENOTDIR: "this kernel or container does not offer it"
    case EACCES, EPERM, EROFS: "run with the right to open it, or have the group delegated"
    case EMFILE, ENFILE: "raise the limit of open files (ulimit -n)"
    case EOPNOTSUPP: "boot the kernel with psi=1"
    case EINVAL: "the kernel does not take this setting; choose another"
    case ENODEV: "its control group was removed; make a new monitor"
    case ENOMEM: "the kernel is out of memory; try again later"
    default: "see the call's manual page"
    }
  }
}
