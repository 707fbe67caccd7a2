import Testing
@testable import MemoryFiles
