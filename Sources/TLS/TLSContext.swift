import Synchronization

/// The credentials that new sessions get. They can be loaded again while sessions go on.
///
/// - Thread safety: you may call every method on any thread.
public final class TLSContext: Sendable {
  private let source: TLSCredentials.Source
  private let current: Mutex<TLSCredentials>

  public init(_ source: TLSCredentials.Source) throws(TLSError) {
    self.source = source
    current = Mutex(try TLSCredentials(source))
  }

  public var credentials: TLSCredentials { current.withLock { $0 } }

  /// Loads the files again. If one of them cannot be used, throws and keeps what there was.
  public func reload() throws(TLSError) {
    let loaded = try TLSCredentials(source)
    current.withLock { $0 = loaded }
  }
}
