/// A disk as the API shows it. Sizes are in bytes. A field without a value is absent.
package struct DiskDocument: Codable {
  package let name: String
  package let size: UInt64
  package let data: UInt64
  package let shared: UInt64
  package let huge: UInt64
  package let zero: UInt64
  package let own: UInt64
  package let quota: UInt64?
  package let reserve: UInt64?
  package let charge: UInt64?
  package let origin: String?
  package let originExists: Bool?
  package let originSize: UInt64?
  package let readOnly: Bool
  package let description: String?
  package let clients: Int
  package let bytesRead: UInt64
  package let bytesWritten: UInt64
  package let uri: String

  package init(_ disk: DiskStatus) {
    name = disk.name
    size = disk.size
    data = disk.data
    shared = disk.shared
    huge = disk.huge
    zero = disk.zero
    own = disk.own
    quota = disk.quota
    reserve = disk.reserve
    charge = disk.charge
    origin = disk.origin
    originExists = disk.hasOrigin
    originSize = disk.originSize
    readOnly = disk.isReadOnly == true
    description = disk.description
    clients = disk.connections
    bytesRead = disk.bytesRead
    bytesWritten = disk.bytesWritten
    uri = disk.uri
  }
}

extension DiskStatus {
  package init(_ disk: DiskDocument) {
    self.init(
      name: disk.name, size: disk.size, data: disk.data, shared: disk.shared, huge: disk.huge,
      zero: disk.zero, own: disk.own, quota: disk.quota, reserve: disk.reserve,
      charge: disk.charge, origin: disk.origin, hasOrigin: disk.originExists,
      originSize: disk.originSize, isReadOnly: disk.readOnly, description: disk.description,
      connections: disk.clients, bytesRead: disk.bytesRead, bytesWritten: disk.bytesWritten,
      uri: disk.uri)
  }
}

package struct DiskList: Codable {
  package let disks: [DiskDocument]
  /// The last name of the list, if more disks follow it.
  package var next: String?

  package init(disks: [DiskDocument], next: String? = nil) {
    (self.disks, self.next) = (disks, next)
  }
}
