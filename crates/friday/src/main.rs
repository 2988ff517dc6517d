//! friday
fn main() {}
