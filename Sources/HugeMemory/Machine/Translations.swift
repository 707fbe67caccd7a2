import GracePeriods
import Glibc

// What the model checker's build has otherwise.

extension Machine {
  /// What flushing translations is to a kernel: when it returns, nobody acts any more on an entry
  /// as it was before the call. Whoever changes an entry relies on it for what comes next: the copy
  /// of a page without a writer, a forbidden access that is over.
  ///
  /// The model's can leave out one caller's wait: a planted bug, which its scenarios must find.
  /// Never within a section.
  func flushTranslations() { grace.synchronize() }
}

/// Names this thread, and no other that runs.
func currentThread() -> UInt64 { UInt64(pthread_self()) }
