//! The pairs: programs of one source, in which removing the same thing gains most or nothing.

/// One pair.
pub struct Pair {
    /// What the command line calls it.
    pub name: &'static str,
    /// What a thread waits for in both, in a phrase.
    pub about: &'static str,
    /// The source of both.
    pub file: &'static str,
    /// Its two variants: there the thread is waited for, and here it has time.
    pub variants: [Variant; 2],
    /// What keeps the thing in, and what takes it out.
    pub thing: Thing,
    /// The causes by which friday names it.
    pub causes: &'static [&'static str],
    /// How many CPUs it takes.
    pub cpus: usize,
}

/// A variant: the constant, and how many items of work take about a second.
pub struct Variant {
    /// How much the first thread computes itself in each item.
    pub own: u32,
    /// How many items.
    pub items: u32,
}

/// What is removed.
pub enum Thing {
    /// A constant of the program's: with it, and without.
    Constant(&'static str, u32, u32),
    /// Another program, which runs beside it.
    Neighbour(&'static str),
}

/// Every pair, in the order of the table.
pub const PAIRS: [Pair; 3] = [
    Pair {
        name: "pair-disk",
        about: "a thread that makes pages durable",
        file: "archive.c",
        variants: [Variant { own: 20, items: 100 }, Variant { own: 5000, items: 30 }],
        thing: Thing::Constant("SAVES_US", 10_000, 0),
        causes: &["disk.sync-writes", "disk.saturated", "disk.slow", "fs.metadata"],
        cpus: 2,
    },
    Pair {
        name: "pair-lock",
        about: "threads that ask somebody slow with a lock held",
        file: "gate.c",
        variants: [Variant { own: 20, items: 120 }, Variant { own: 2500, items: 40 }],
        thing: Thing::Constant("SHARED", 1, 0),
        causes: &["lock.contention"],
        cpus: 2,
    },
    Pair {
        name: "pair-cpu",
        about: "a thread that shares its CPU with three of another process",
        file: "lane.c",
        variants: [Variant { own: 20, items: 80 }, Variant { own: 4500, items: 40 }],
        thing: Thing::Neighbour("crowd.c"),
        causes: &["cpu.saturated", "cpu.pinned", "cpu.priority"],
        cpus: 2,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn sources_are_there() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../truth/programs");
        for pair in &PAIRS {
            assert!(sources.join(pair.file).is_file(), "{}", pair.file);
            if let Thing::Neighbour(file) = pair.thing {
                assert!(sources.join(file).is_file(), "{file}");
            }
        }
    }
}
