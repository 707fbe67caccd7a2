import Checkpoints
import ControlPlane
import HugeMemory
import NBDServer
import NIOHTTP1

/// An error as clients get it: problem details (RFC 9457) with a code that stays the same in all
/// versions. The sentence is for people, and may change.
struct Problem: Error {
  var status: Int
  var code: Code
  var detail: String
  /// The methods that the path allows.
  var allowed: [HTTPMethod] = []

  init(_ status: Int, _ code: Code, _ detail: String) {
    // It may have a name or a path that a client chose.
    (self.status, self.code) = (status, code)
    self.detail = LogText.printable(detail)
  }

  /// The names of the codes are part of the API.
  enum Code: String, Encodable, CaseIterable {
    case malformed, timeout, unauthorized, forbidden
    case tooLarge = "too-large"
    case noSuchPath = "no-such-path"
    case methodNotAllowed = "method-not-allowed"
    case invalid
    case unknownField = "unknown-field"
    case invalidName = "invalid-name"
    case invalidSize = "invalid-size"
    case noSuchDisk = "no-such-disk"
    case diskExists = "disk-exists"
    case diskInUse = "disk-in-use"
    case notAFork = "not-a-fork"
    case otherOrigin = "other-origin"
    case wouldShrink = "would-shrink"
    case tooMany = "too-many"
    case outOfMemory = "out-of-memory"
    case noSuchJob = "no-such-job"
    case noSuchKnob = "no-such-knob"
    case cancelled
    case failed
  }

  struct Document: Encodable {
    let type: String
    let title: String
    let status: Int
    let code: Code
    let detail: String
  }

  var document: Document {
    Document(
      type: "about:blank", title: HTTPResponseStatus(statusCode: status).reasonPhrase,
      status: status, code: code, detail: detail)
  }

  var response: HTTPResponse {
    let status = HTTPResponseStatus(statusCode: status)
    // SAFETY of `try!`: the document has only strings and a number.
    var response = try! HTTPResponse.json(document, status, type: "application/problem+json")
    if !allowed.isEmpty {
      response.headers.append(("allow", allowed.map(\.rawValue).joined(separator: ", ")))
    }
    if code == .unauthorized { response.headers.append(("www-authenticate", "Bearer")) }
    return response
  }
}

extension Problem {
  /// What an error of the layers below means for a client.
  init(_ error: any Error) {
    switch error {
    case let problem as Problem: self = problem
    case let error as DiskError: self.init(error)
    case let error as MemoryError: self.init(.memory(error))
    case let error as ControlError:
      switch error.reason {
      case let reason as DiskError:
        self.init(reason)
        detail = error.description
      case let reason as MemoryError:
        self.init(DiskError.memory(reason))
        detail = error.description
      default: self.init(400, .failed, error.description)
      }
    case let error as CheckpointError:
      if case .outOfMemory = error {
        self.init(507, .outOfMemory, "\(error)")
      } else {
        self.init(400, .failed, "\(error)")
      }
    case is CheckpointIsRunning: self.init(409, .failed, "\(error)")
    default: self.init(500, .failed, "\(error)")
    }
  }

  private init(_ error: DiskError) {
    let (status, code): (Int, Code) =
      switch error {
      case .invalidName: (400, .invalidName)
      case .invalidDescription: (422, .invalid)
      case .invalidSize, .quotaTooSmall, .reserveOverQuota: (422, .invalidSize)
      case .notFound, .noDefault: (404, .noSuchDisk)
      case .exists: (409, .diskExists)
      case .inUse: (409, .diskInUse)
      case .noOrigin: (409, .notAFork)
      case .otherOrigin: (409, .otherOrigin)
      case .wouldShrink: (409, .wouldShrink)
      case .mayNotFork, .connectForksOff: (403, .forbidden)
      case .tooManyOfClient, .tooManyDisks, .tooManyConnectForks: (429, .tooMany)
      case .cannotReserve, .cannotFork, .memoryFileIsFull: (507, .outOfMemory)
      case .memory(.outOfMemory), .memory(.overQuota): (507, .outOfMemory)
      case .memory(.invalidSize): (422, .invalidSize)
      case .memory, .notLoaded: (500, .failed)
      case .cancelled: (503, .cancelled)
      }
    self.init(status, code, "\(error)")
  }
}
