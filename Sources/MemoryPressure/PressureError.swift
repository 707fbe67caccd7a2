import Glibc

/// Why a source of memory pressure, or a control group, cannot be used.
public enum PressureError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The system refused a call.
  case system(call: String, path: String, errno: Int32)
  /// A file holds something else than it should.
  case malformed(path: String, found: String, expected: String)
  /// The process is in no control group of this version that can be seen.
  case noGroup(ControlGroup.Version, reason: String)
  /// The control group and those above it have no limit to compare with.
  case noLimit(group: String)
  /// The control group was removed under the source.
  case removed(path: String)
  /// A source was required, and each was refused.
  case noSource([UnavailableSource])
  /// The system has no more threads.
  case noThread

  public var description: String {
    switch self {
    case .system(let call, let path, let errno):
      "\(call) of \(path) failed: \(unsafe String(cString: strerror(errno))); \(Self.advice(errno))"
    case .malformed(let path, let found, let expected):
      "\(path) holds \"\(found)\" and not \(expected); is it the kernel's file?"
    case .noGroup(let version, let reason):
      "no memory control group of cgroup \(version): \(reason)"
    case .noLimit(let group):
      "no limit is set at \(group) or above; set one for its use to be watched"
    case .removed(let path):
      "the control group of \(path) was removed; make a new monitor in the group of now"
    case .noSource(let refused):
      "nothing on this machine tells of memory pressure: "
        + refused.map(\.description).joined(separator: "; ")
    case .noThread: "no thread for the monitor; raise the limit of processes (ulimit -u)"
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
