//! What the shop of the made-up case is joined with.

use observe::{Labels, Recording, Series, catalog};
use std::time::Duration;

/// From, to, by, what, and how many.
const LINKS: [(&str, &str, &str, &str, f64); 17] = [
    ("peer:10.0.1.7", "process:812", "tcp", "8080", 40.0),
    ("peer:10.0.1.8", "process:812", "tcp", "8080", 12.0),
    ("peer:10.0.1.7", "interface:bond0", "route", "", 1.0),
    ("peer:10.0.1.8", "interface:bond0", "route", "", 1.0),
    ("interface:bond0", "interface:eth0", "layer", "", 1.0),
    ("process:812", "", "listens", "tcp 0.0.0.0:8080", 1.0),
    ("process:812", "", "listens", "unix /run/shop/admin.sock", 1.0),
    ("process:812", "peer:10.0.0.9", "tcp", "5432", 8.0),
    ("peer:10.0.0.9", "interface:bond0", "route", "", 1.0),
    ("process:3001", "process:812", "unix", "/run/shop/admin.sock", 1.0),
    ("process:2044", "process:3001", "pipe", "", 2.0),
    ("process:812", "filesystem:/var", "file", "write", 3.0),
    ("process:2044", "filesystem:/var", "file", "read", 9.0),
    ("process:2044", "filesystem:/net/backup", "file", "write", 1.0),
    ("filesystem:/net/backup", "peer:10.0.0.20", "mount", "nfs4", 1.0),
    ("filesystem:/var", "device:vda1", "mount", "ext4", 1.0),
    ("device:vda1", "device:vda", "layer", "", 1.0),
];

/// Fills it in; `name` changes what the system names.
pub fn fill(rec: &mut Recording, name: impl Fn(&str) -> String) {
    let mut rows = Vec::new();
    for (from, to, by, what, count) in LINKS {
        let labels = Labels::new([("from", name(from)), ("to", name(to)), ("by", by.into()), ("what", name(what))]);
        rows.push(Series::total(labels, Duration::from_secs(20), count));
    }
    rec.set(&catalog::TOPOLOGY, Ok(rows));
    let unseen = Labels::new([("what", "ends".into())]);
    rec.set(&catalog::TOPOLOGY_UNSEEN, Ok(vec![Series::total(unseen, Duration::from_secs(20), 1.0)]));
}
