import HugeMemory
import NBD
import NBDServer

extension API {
  private typealias Adder = @Sendable (inout Exposition, [Disk], API) -> Void

  /// All families about single disks. Each takes its own look at them.
  static let diskFamilies: [@Sendable (inout Exposition, [Disk], API) -> Void] = [
    gauge(Families.size) { $0.size },
    memory,
    gauge(Families.quota) { $0.limits.quota },
    gauge(Families.reserve) { $0.limits.reserve },
    gauge(Families.charge) { $0.charge },
    gauge(Families.clients) { UInt64($0.connections) },
    traffic,
  ]

  private static func gauge(
    _ family: Family, _ value: @escaping @Sendable (Disk) -> UInt64?
  ) -> Adder {
    { text, disks, _ in
      text.add(family) { samples in
        for disk in disks {
          if let value = value(disk) { samples.gauge([("disk", disk.name)], value) }
        }
      }
    }
  }

  /// One walk of a disk's tables is enough for four families.
  private static let memory: Adder = { text, disks, _ in
    let usages = disks.map { ($0.name, $0.space.usage()) }
    let values: [(Family, (Usage) -> UInt64)] = [
      (Families.data, { $0.data }), (Families.shared, { $0.shared }),
      (Families.own, { $0.own }), (Families.huge, { $0.huge }),
    ]
    for (family, value) in values {
      text.add(family) { samples in
        for (name, usage) in usages { samples.gauge([("disk", name)], value(usage)) }
      }
    }
  }

  private static let commands: [(Command, String)] = [
    (.read, "read"), (.write, "write"), (.flush, "flush"), (.trim, "trim"), (.cache, "cache"),
    (.writeZeroes, "write_zeroes"), (.blockStatus, "block_status"), (.resize, "resize"),
  ]
  private static let kinds: [(ReplyError, String)] = [
    (.notPermitted, "EPERM"), (.inputOutput, "EIO"), (.outOfMemory, "ENOMEM"), (.invalid, "EINVAL"),
    (.noSpace, "ENOSPC"), (.notSupported, "ENOTSUP"),
  ]
  private static let bounds = TrafficCounts.bounds.map { seconds($0) }

  /// What has never happened on a disk has no sample, since most disks of many are idle.
  private static let traffic: Adder = { text, disks, _ in
    let counts = disks.map { ($0.name, $0.traffic.counts) }
    func each(
      _ family: Family,
      _ add: (inout Exposition.Samples, Command, [(String, String)], TrafficCounts) -> Void
    ) {
      text.add(family) { samples in
        for (disk, counts) in counts {
          for (command, name) in commands where counts.requests(command) > 0 {
            add(&samples, command, [("disk", disk), ("operation", name)], counts)
          }
        }
      }
    }
    each(Families.operations) { $0.counter($2, $3.requests($1)) }
    each(Families.transferred) { samples, command, labels, counts in
      if [.read, .write, .trim, .writeZeroes].contains(command) {
        samples.counter(labels, counts.bytes(command))
      }
    }
    each(Families.duration) { samples, command, labels, counts in
      samples.histogram(
        labels, bounds: bounds, counts: counts.histogram(command),
        sum: seconds(counts.nanoseconds(command)))
    }
    text.add(Families.errors) { samples in
      for (disk, counts) in counts {
        for (error, name) in kinds where counts.errors(error) > 0 {
          samples.counter([("disk", disk), ("error", name)], counts.errors(error))
        }
      }
    }
  }

  /// Nanoseconds as seconds, without a rounding error.
  private static func seconds(_ nanoseconds: UInt64) -> String {
    let fraction = String(nanoseconds % 1_000_000_000)
    return "\(nanoseconds / 1_000_000_000)."
      + String(repeating: "0", count: 9 - fraction.count) + fraction
  }
}
