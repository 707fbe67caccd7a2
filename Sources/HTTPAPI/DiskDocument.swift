import ControlPlane

/// A disk as the API shows it. Sizes are in bytes. A field without a value is absent.
struct DiskDocument: Encodable {
  let name: String
  let size: UInt64
  let data: UInt64
  let shared: UInt64
  let huge: UInt64
  let zero: UInt64
  let own: UInt64
  let quota: UInt64?
  let reserve: UInt64?
  let charge: UInt64?
  let origin: String?
  let originExists: Bool?
  let originSize: UInt64?
  let readOnly: Bool
  let description: String?
  let clients: Int
  let bytesRead: UInt64
  let bytesWritten: UInt64
  let uri: String

  init(_ disk: DiskStatus) {
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

struct DiskList: Encodable {
  let disks: [DiskDocument]
  /// The last name of the list, if more disks follow it.
  var next: String?
}
