import HugeMemory

// The figures of the account. All of this runs under its lock.
extension QuotaAccount.Member {
  var frozen: UInt64 { forks.reduce(0) { $0 + $1.frozen } }
}

extension QuotaAccount.State {
  /// An upper bound of the memory that is in use.
  var used: UInt64 {
    members.values.reduce(0) { $0 + $1.lease + $1.lingering + $1.frozen }
  }

  mutating func add(_ member: QuotaAccount.Member) -> UInt64 {
    last += 1
    members[last] = member
    return last
  }

  /// Forgets a member if its disk is removed and no disk descends from its forks.
  mutating func drop(_ number: UInt64) {
    if let member = members[number], member.space == nil, member.forks.isEmpty {
      members[number] = nil
    }
  }

  /// Keeps a member from taking more memory, and returns what it has. From now on that only falls.
  /// (Memory that comes back to it from forks raises its charge, but was already counted as
  /// lingering or frozen.)
  mutating func stop(_ number: UInt64) -> UInt64 {
    guard let member = members[number], let space = member.space else { return 0 }
    let reserve = space.reserve ?? 0
    if total != nil { try? space.setLimits(quota: reserve, reserve: reserve) }
    // The member may still take memory up to its reserve.
    let lease = max(reserve, space.charge)
    members[number]?.lease = lease
    return lease
  }

  mutating func resume(_ number: UInt64, lease: UInt64) {
    guard total != nil, let space = members[number]?.space else { return }
    let reserve = space.reserve ?? 0
    members[number]?.lease = max(lease, reserve)
    try? space.setLimits(quota: max(lease, reserve), reserve: reserve)
  }

  /// Takes back the unused part of the leases of all members but `spared`.
  mutating func takeBackUnused(but spared: UInt64?) {
    // A trim may take tables above the quota, since it gives more back. Count those as well.
    if let spared, let space = members[spared]?.space {
      members[spared]!.lease = max(members[spared]!.lease, space.charge)
    }
    for number in members.keys where number != spared {
      guard members[number]?.space != nil else { continue }
      resume(number, lease: stop(number))
    }
  }

  /// Measures how much lingering memory has really come back to members.
  mutating func settle(_ machine: Machine, pinned: UInt64) {
    guard members.values.contains(where: { $0.lingering > 0 }) else { return }
    // Retired memory that waits for readers makes memory look shared that no longer is. Free it.
    machine.settle()
    for (number, member) in members where member.lingering > 0 {
      guard let space = member.space else { continue }
      // Memory that a client still holds counts as shared, so it is not in `own`.
      let own = space.usage().own + pinned
      let charge = space.charge
      members[number]?.lingering = min(member.lingering, own - min(own, charge))
      // Some of it may be in the charge by now, which then rose above the lease.
      members[number]?.lease = max(member.lease, charge)
    }
  }

  /// Adds a fork, from which one disk descends, and returns its number.
  mutating func addFork(of origin: AccountMember) -> UInt64 {
    last += 1
    descent[last] = QuotaAccount.Descent(origin: origin.number, parent: origin.birth)
    if let parent = origin.birth { descent[parent]?.count += 1 }
    return last
  }

  /// Counts one descendant of a fork less. This is a loop, since chains of forks may be of any
  /// length.
  mutating func release(_ fork: UInt64) {
    var next: UInt64? = fork
    while let fork = next, let entry = descent[fork] {
      guard entry.count == 1 else {
        descent[fork]?.count -= 1
        return
      }
      descent[fork] = nil
      forget(fork, of: entry.origin)
      next = entry.parent
    }
  }

  /// Forgets a fork that nothing descends from any more.
  private mutating func forget(_ fork: UInt64, of number: UInt64) {
    guard var member = members[number],
      let index = member.forks.firstIndex(where: { $0.number == fork })
    else { return }
    let frozen = member.forks.remove(at: index).frozen
    if index < member.forks.count {
      // What was in this fork is also in the next younger one, unless it was written in between.
      member.forks[index].frozen += frozen
    } else if member.space != nil {
      member.lingering += frozen
    }
    members[number] = member
    drop(number)
  }
}
