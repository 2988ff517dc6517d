//! Kernel to recording.
