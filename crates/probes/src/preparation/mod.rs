//! What the preparation tries on this machine beside health tools: tracing, where spans are sent, what friday may do, and
//! where the source of what runs is. After the window; together some seconds at most.

mod access;
mod binaries;
mod endpoints;
mod tracing;

use crate::roots::Roots;
use observe::Recording;

/// Tries all of it.
pub(crate) fn collect(roots: &Roots, into: &mut Recording) {
    tracing::collect(roots, into);
    endpoints::collect(roots, into);
    access::collect(roots, into);
    binaries::collect(roots, into);
}
