//! Packets that the kernel threw away, by the kernel's own reasons. Their numbers differ from version to version, so the
//! names are read from its type information.

use crate::{
    bpf::{Kernel, plain},
    roots::Roots,
};
use libbpf_rs::{
    MapCore, MapFlags,
    btf::{Btf, types},
};
use observe::{Absent, Labels, Observed, Recording, Series, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Freed for no reason that the kernel tells, or not dropped at all.
const LEFT_OUT: [&str; 3] = ["NOT_DROPPED_YET", "CONSUMED", "NOT_SPECIFIED"];

/// Adds the counts by reason.
pub(super) fn collect(kernel: &Kernel, roots: &Roots, length: Duration, into: &mut Recording) {
    let map = &kernel.maps().net_drops;
    let counts = (0..map.max_entries()).filter_map(|reason| {
        let each = map.lookup_percpu(&reason.to_ne_bytes(), MapFlags::ANY).ok()??;
        let count: u64 = each.iter().filter_map(|bytes| plain::<u64>(bytes)).sum();
        (count > 0).then_some((reason, count))
    });
    let counts: Vec<(u32, u64)> = counts.collect();
    let rows = names(roots).map(|names| {
        let named = counts.iter().map(|(reason, count)| (names.get(reason).map_or("OTHER", String::as_str), count));
        named
            .filter(|(name, _)| !LEFT_OUT.contains(name))
            .map(|(name, count)| Series::total(Labels::new([("reason", name.to_owned())]), length, *count as f64))
            .collect()
    });
    into.set(&catalog::PACKET_DROPS, rows);
}

/// The reasons by number, as this kernel numbers them.
fn names(roots: &Roots) -> Observed<BTreeMap<u32, String>> {
    let btf = Btf::from_path(&roots.btf).map_err(|e| Absent::Failed(format!("{}: {e}", roots.btf.display())))?;
    let Some(reasons) = btf.type_by_name::<types::Enum<'_>>("skb_drop_reason") else {
        return Err(Absent::Unsupported("the kernel tells no reasons for drops before Linux 5.17".into()));
    };
    let named = reasons.iter().filter_map(|reason| {
        let name = reason.name?.to_string_lossy();
        Some((reason.value as u32, short(&name).to_owned()))
    });
    Ok(named.collect())
}

/// `NO_SOCKET` of `SKB_DROP_REASON_NO_SOCKET`.
fn short(name: &str) -> &str {
    ["SKB_DROP_REASON_", "SKB_"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernels_reasons_are_known_by_name() {
        if let Ok(names) = names(&Roots::default()) {
            let has = |name: &str| names.values().any(|n| n == name);
            assert!(has("NO_SOCKET") && has("NOT_SPECIFIED") && has("NOT_DROPPED_YET"), "{names:?}");
        }
        assert_eq!([short("SKB_CONSUMED"), short("SKB_DROP_REASON_TCP_CSUM")], ["CONSUMED", "TCP_CSUM"]);
    }
}
