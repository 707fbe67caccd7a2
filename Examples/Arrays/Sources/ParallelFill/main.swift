// Many threads fill one array, each its own part: no lock, no copy, no unsafe pointer.
import Dispatch
import HugeArrays

/// The escape time of a point in the Mandelbrot set.
func escapeTime(_ x: Double, _ y: Double) -> UInt16 {
  var (a, b, steps) = (0.0, 0.0, UInt16(0))
  while a * a + b * b < 4, steps < 200 {
    (a, b) = (a * a - b * b + x, 2 * a * b + y)
    steps += 1
  }
  return steps
}

let (width, height) = (2048, 1024)
func pixel(_ index: Int) -> UInt16 {
  escapeTime(
    Double(index % width) / Double(width) * 3 - 2, Double(index / width) / Double(height) * 2 - 1)
}

var image = HugeArray<UInt16>(count: width * height)
image.withConcurrentView { view in
  DispatchQueue.concurrentPerform(iterations: height / 16) { band in
    let rows = band * 16 * width..<(band + 1) * 16 * width
    view.withMutableContiguousPieces(in: rows) { start, piece in
      for index in piece.indices { piece[index] = pixel(start + index) }
    }
  }
}

precondition(stride(from: 0, to: image.count, by: 997).allSatisfy { image[$0] == pixel($0) })
// A picture of it, as far as letters go.
for row in stride(from: 0, to: height, by: height / 20) {
  let line = stride(from: 0, to: width, by: width / 64).map { column -> Character in
    let steps = image[row * width + column]
    return steps >= 200 ? "#" : steps > 12 ? "+" : steps > 5 ? "." : " "
  }
  print(String(line))
}
