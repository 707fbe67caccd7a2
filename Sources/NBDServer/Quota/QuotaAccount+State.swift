import HugeMemory

// The account's figures, under its lock.
extension QuotaAccount.Member {
  var frozen: UInt64 { forks.reduce(0) { $0 + $1.frozen } }
}

extension QuotaAccount.State {
  /// What may be in use, at most.
  var used: UInt64 {
    members.values.reduce(0) { $0 + $1.lease + $1.lingering + $1.frozen }
  }

  mutating func add(_ member: QuotaAccount.Member) -> UInt64 {
    last += 1
    members[last] = member
    return last
  }

  /// Forgets a member that is removed and of whose forks nothing is left.
  mutating func drop(_ number: UInt64) {
    if let member = members[number], member.space == nil, member.forks.isEmpty {
      members[number] = nil
    }
  }

  /// Keeps a member from taking more, and returns what it has: from now on that only falls. (What
  /// comes back to it from forks raises its charge, but was counted as lingering or frozen.)
  mutating func stop(_ number: UInt64) -> UInt64 {
    guard let member = members[number], let space = member.space else { return 0 }
    let reserve = space.reserve ?? 0
    if total != nil { try? space.setLimits(quota: reserve, reserve: reserve) }
    // Up to its reserve it may still take.
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

  /// Takes back what members were leased and do not use.
  mutating func takeBackUnused(but spared: UInt64?) {
    // A trim may take tables above the quota, as it gives back more.
    if let spared, let space = members[spared]?.space {
      members[spared]!.lease = max(members[spared]!.lease, space.charge)
    }
    for number in members.keys where number != spared {
      guard members[number]?.space != nil else { continue }
      resume(number, lease: stop(number))
    }
  }

  /// Looks up what has come back to members, where something may have.
  mutating func settle(_ machine: Machine, pinned: UInt64) {
    guard members.values.contains(where: { $0.lingering > 0 }) else { return }
    // What still waits for readers is shared with nobody, but does not look so.
    machine.settle()
    for (number, member) in members where member.lingering > 0 {
      guard let space = member.space else { continue }
      // What a client still holds is shared with it, and so not in `own`.
      let own = space.usage().own + pinned
      let charge = space.charge
      members[number]?.lingering = min(member.lingering, own - min(own, charge))
      // Some of it may be in the charge by now, which rose without being asked.
      members[number]?.lease = max(member.lease, charge)
    }
  }

  /// The number of a new fork, from which one disk descends.
  mutating func addFork(of origin: AccountMember) -> UInt64 {
    last += 1
    descent[last] = QuotaAccount.Descent(origin: origin.number, parent: origin.birth)
    if let parent = origin.birth { descent[parent]?.count += 1 }
    return last
  }

  /// One less descends from a fork. A loop, since chains of forks may be as long as one likes.
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

  /// Nothing descends from a fork any more.
  private mutating func forget(_ fork: UInt64, of number: UInt64) {
    guard var member = members[number],
      let index = member.forks.firstIndex(where: { $0.number == fork })
    else { return }
    let frozen = member.forks.remove(at: index).frozen
    if index < member.forks.count {
      // What was in this fork is in the next younger one too, unless it was written since.
      member.forks[index].frozen += frozen
    } else if member.space != nil {
      member.lingering += frozen
    }
    members[number] = member
    drop(number)
  }
}
