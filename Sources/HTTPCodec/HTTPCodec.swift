package import NIOCore
import NIOEmbedded

/// A pipeline of SwiftNIO's that turns bytes into parts of messages and back, on the thread that calls it. No
/// event loop runs.
///
/// It does not use `EmbeddedChannel.writeInbound` and `writeOutbound`: they return copies of the channel's
/// buffers, and where a caller ignores such a copy, the optimizer of Swift 6.3 frees its array before it is
/// filled.
package final class HTTPCodec {
  private let channel = EmbeddedChannel()

  /// `decoder` makes parts of bytes, `encoder` bytes of parts. The encoder is nearer to the bytes.
  package init(_ decoder: any ChannelHandler, _ encoder: any ChannelHandler) {
    let handlers = channel.pipeline.syncOperations
    // SAFETY of `try!`: the channel is new and has no other handler.
    try! handlers.addHandler(encoder)
    try! handlers.addHandler(decoder)
  }

  /// Breaks the cycle of the parser with itself.
  deinit { _ = try? channel.finish(acceptAlreadyClosed: true) }

  /// Takes bytes. Throws if they are no message.
  package func parse(_ bytes: ByteBuffer) throws {
    let pipeline = channel.pipeline.syncOperations
    pipeline.fireChannelRead(NIOAny(bytes))
    pipeline.fireChannelReadComplete()
    try channel.throwIfErrorCaught()
  }

  /// The next part of the messages that the bytes make, or nil if more bytes are needed.
  package func next<Part>(_: Part.Type = Part.self) throws -> Part? {
    try channel.readInbound(as: Part.self)
  }

  /// Takes a part of a message.
  package func write<Part>(_ part: Part) {
    channel.pipeline.syncOperations.writeAndFlush(NIOAny(part), promise: nil)
  }

  /// The bytes of the parts since the last call.
  package func takeBytes() throws -> ByteBuffer {
    var all = ByteBuffer()
    while let part = try channel.readOutbound(as: IOData.self) {
      if case .byteBuffer(var bytes) = part { all.writeBuffer(&bytes) }
    }
    return all
  }
}
