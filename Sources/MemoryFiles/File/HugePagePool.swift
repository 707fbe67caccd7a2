import CLinux
import Glibc

/// The huge pages that the system keeps for hugetlbfs.
enum HugePagePool {
  static let pageSize: UInt64 = 2 << 20

  /// Whether a file has its memory from there.
  static func has(_ descriptor: Int32) -> Bool {
    var place = hm_place()
    return unsafe hm_place_of(descriptor, &place) == 0 && place.kind == HM_HUGETLBFS
  }

  /// What is free now, or may be added, and is promised to nobody.
  static var bytesFree: UInt64 {
    let pages = count("free") + count("nr_overcommit") - count("surplus") - count("resv")
    return UInt64(max(0, pages)) * pageSize
  }

  private static func count(_ what: String) -> Int {
    let path = "/sys/kernel/mm/hugepages/hugepages-2048kB/\(what)_hugepages"
    return Int(FileLock.text(path).filter(\.isNumber)) ?? 0
  }
}
