/// Shrinks a program that fails by leaving out steps for as long as it still fails: first large
/// pieces, then single steps (Zeller's delta debugging).
func shrink(_ program: [Step], while fails: ([Step]) -> Bool) -> [Step] {
  var program = program
  var piece = program.count / 2
  while piece > 0 {
    var start = 0
    var isSmaller = false
    while start < program.count {
      var trial = program
      trial.removeSubrange(start..<min(start + piece, program.count))
      if fails(trial) {
        program = trial
        isSmaller = true
      } else {
        start += piece
      }
    }
    if !isSmaller || piece > 1 { piece /= 2 }
  }
  return program
}
