/// All metrics. docs/metrics.md says what to do about each; a test compares the two.
enum Families {
  static let build = Family(.info, "build", "The version of the server.")
  static let disks = Family(.gauge, "disks", "Disks that exist.")
  static let disksLimit = Family(.gauge, "disks_limit", "The most disks that may exist.")
  static let connections = Family(.gauge, "connections", "Connected clients, by socket.")
  static let connectionsLimit = Family(
    .gauge, "connections_limit", "The most clients that may be connected, by socket.")

  // Memory.
  static let memoryLimit = Family(
    .gauge, "memory_limit_bytes", "The most memory for data, tables and the zero page.")
  static let memoryUsed = Family(.gauge, "memory_used_bytes", "Memory in use, by what it is for.")
  static let memoryPromised = Family(
    .gauge, "memory_promised_bytes", "Memory kept for disks with a reserve, and not used yet.")
  static let memoryGivenBack = Family(
    .counter, "memory_given_back_bytes", "Memory given back to the system.")
  static let memoryFileRoom = Family(
    .gauge, "memory_file_room_bytes",
    "What the file system of the memory file has left, if it can run out.")
  static let loading = Family(
    .gauge, "loading_bytes", "Memory of a checkpoint that is still to be loaded.")
  static let loadingFailed = Family(
    .gauge, "loading_failed_bytes", "The part of it that cannot be; the log says why.")
  static let pressure = Family(
    .gauge, "memory_pressure_level", "Memory pressure: 0 normal, 1 low, 2 medium, 3 critical.")
  static let gracePeriods = Family(
    .counter, "grace_periods", "Waits for all readers, after which memory was used again.")

  // The zero page.
  static let zeroReferences = Family(
    .gauge, "zero_page_references", "References to the zero page; 0 if there is none now.")
  static let zeroAllocations = Family(
    .counter, "zero_page_allocations", "Zero pages that were allocated.")
  static let zeroFailures = Family(
    .counter, "zero_page_allocation_failures", "Zero pages that could not be allocated.")
  static let zeroFrees = Family(.counter, "zero_page_frees", "Zero pages that were freed.")
  static let zeroRevocations = Family(
    .counter, "zero_page_revocations", "Zero pages that were taken back from their readers.")
  static let events = Family(
    .counter, "vm_events", "Events of the paging engine, with the names of /proc/vmstat.")

  // Disks.
  static let size = Family(.gauge, "disk_size_bytes", "The size of the disk.")
  static let data = Family(.gauge, "disk_data_bytes", "Memory with data that the disk can see.")
  static let shared = Family(
    .gauge, "disk_shared_bytes", "The part of the data that other disks see as well.")
  static let own = Family(
    .gauge, "disk_own_bytes", "The data and tables that removing the disk would free.")
  static let huge = Family(.gauge, "disk_huge_bytes", "The part of the data in huge pages.")
  static let quota = Family(.gauge, "disk_quota_bytes", "The most memory that the disk may take.")
  static let reserve = Family(.gauge, "disk_reserve_bytes", "The memory that is kept for the disk.")
  static let charge = Family(
    .gauge, "disk_charge_bytes", "The memory that counts for the quota and the reserve.")
  static let clients = Family(.gauge, "disk_clients", "Clients that are connected to the disk.")
  static let operations = Family(.counter, "disk_operations", "Requests that are done.")
  static let transferred = Family(
    .counter, "disk_transferred_bytes", "Bytes of the requests that are done, by operation.")
  static let duration = Family(
    .histogram, "disk_operation_duration_seconds",
    "From when the server had a request until it had sent the reply.")
  static let errors = Family(.counter, "disk_errors", "Requests that got an error, by its name.")

  // The process.
  static let cpu = Family(process: .counter, "cpu_seconds", "CPU time of the process.")
  static let resident = Family(
    process: .gauge, "resident_memory_bytes", "Resident memory, as the system counts it.")
  static let descriptors = Family(process: .gauge, "open_fds", "Open file descriptors.")
  static let mostDescriptors = Family(
    process: .gauge, "max_fds", "The most file descriptors that may be open.")
  static let threads = Family(process: .gauge, "threads", "Threads of the process.")
  static let start = Family(
    process: .gauge, "start_time_seconds", "When the process started, in seconds since 1970.")
}
