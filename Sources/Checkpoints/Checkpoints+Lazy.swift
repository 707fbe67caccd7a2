import HugeMemory

// Spaces that are in use before all of their contents are there.
extension Checkpoints {
  /// As `load`, but reads only the upper tables. Use the spaces only through the loading, which is nil if
  /// nothing is left to load.
  ///
  /// Huge frames and tables are allocated here, so that a checkpoint that is far too large is refused now.
  ///
  /// - Complexity: O(data in the checkpoint / 2 MiB)
  package func loadLazily(
    from directory: CheckpointDirectory, report: @escaping @Sendable (Loading.Event) -> Void
  ) throws -> (
    disks: [(disk: SavedDisk, contents: AddressSpace, origin: AddressSpace?)], loading: Loading?
  ) {
    machine.holdContents()
    var isLoading = false
    defer { if !isLoading { machine.releaseContents() } }
    let manifest = try Manifest(in: directory)
    let pages = try PageReader(manifest, in: directory)
    var reader = TreeReader(pages, machine: machine, isLazy: true) { _ in }
    var disks: [(disk: SavedDisk, contents: AddressSpace, origin: AddressSpace?)] = []
    var names: [String] = []
    for disk in manifest.disks {
      let contents = try reader.space(disk.contents)
      disks.append((disk, contents, try disk.origin.map { try reader.space($0.contents) }))
      names += Array(repeating: disk.name, count: reader.absent.count - names.count)
    }
    let spaces = disks.flatMap { [$0.contents] + ($0.origin.map { [$0] } ?? []) }
    guard !spaces.isEmpty else { return (disks, nil) }
    let loading = try Loading(
      Array(zip(reader.absent, names)), of: spaces, frames: reader.frames, reader: pages,
      machine: machine, report: report
    ) { [weak self] numbers, forks in
      // The next checkpoint can go on from this one, unless there was one meanwhile.
      let next = Base(manifest, in: directory, numbers, forks)
      self?.base.withLock { if $0 == nil { $0 = next } }
    }
    isLoading = true
    return (disks, loading)
  }
}
