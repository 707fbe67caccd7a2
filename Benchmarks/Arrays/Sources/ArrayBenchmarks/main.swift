// usage: ArrayBenchmarks [access|copies|sparse] [GIGABYTES]     needs 4 GiB of memory and more for
// each size; by default copies go up to 1 GiB
let arguments = CommandLine.arguments.dropFirst()
let gigabytes = arguments.compactMap { Int($0) }.first ?? 1
let wanted = arguments.filter { Int($0) == nil }
if wanted.isEmpty || wanted.contains("access") { access(megabytes: 256, rounds: 7) }
if wanted.isEmpty || wanted.contains("copies") { copies(gigabytes: gigabytes, rounds: 20) }
if wanted.isEmpty || wanted.contains("sparse") { sparse() }
