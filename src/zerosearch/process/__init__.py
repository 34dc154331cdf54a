"""The process itself: threads, signals, and what other libraries raise."""
