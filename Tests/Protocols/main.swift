// Explores every protocol, then every planted bug, and prints a table.
//
//   protocols [SECONDS]     budget for each exploration, 60 by default

import Glibc
import Interleave
import Modelled

let seconds = CommandLine.arguments.dropFirst().first.flatMap(Int.init) ?? 60
var failures = 0

for item in Protocol.all {
  fflush(nil)
  let report = item.run(seconds: seconds)
  print("\(item.name)\n    \(report)")
  if case .failed = report.verdict { failures += 1 }
  for bug in item.plants {
    let report = item.run(plant: bug, seconds: seconds)
    if case .failed = report.verdict {
      print("    planted \(bug.rawValue): found after \(report.executions) executions")
    } else {
      print("FAIL  planted \(bug.rawValue): not found: \(report)")
      failures += 1
    }
  }
}
print(failures == 0 ? "all proven, all planted bugs found" : "\(failures) failures")
exit(failures == 0 ? 0 : 1)
