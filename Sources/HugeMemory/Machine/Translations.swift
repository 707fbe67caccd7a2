import GracePeriods
import Glibc

// The model checker's build replaces this file.

extension Machine {
  /// As flushing translations in a kernel: when this returns, no thread acts any more on an entry
  /// as it was before the call. A caller that changes an entry relies on it for what comes next,
  /// for example to copy a page that then has no writer, or to return once no forbidden access is
  /// going on.
  ///
  /// The model's version can leave out one caller's wait: a planted bug, which its scenarios must
  /// find. Never call this within a section.
  func flushTranslations() { grace.synchronize() }
}

/// Identifies this thread among those that are running.
func currentThread() -> UInt64 { UInt64(pthread_self()) }
