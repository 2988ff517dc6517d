//! Changes of the running system: each is measured before, during and after, and undone on every way out.
