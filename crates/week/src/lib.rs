//! week
