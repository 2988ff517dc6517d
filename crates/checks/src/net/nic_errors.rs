//! # Do network interfaces lose packets?
//!
//! **Measures** packets with errors and packets dropped by interface and direction, against all of them.
//! **Matters** because errors mean a broken cable, port, duplex setting or driver, and every one is sent again or gone.
//! **Misleads** for drops on receipt, which count packets of protocols that nobody wants too; loopback is left out.
//! **Confirm** by the interface's own statistics, `ethtool -S`.

use crate::{Check, Evidence, Light, Verdict, counter::Growth, net::MIN_PACKETS};
use observe::{Absent, Observed, Ratio, Recording, catalog};

/// Stands in the registry.
pub const CHECK: Check = Check {
    id: "net.nic_errors",
    group: "network interfaces",
    question: "Do network interfaces lose packets?",
    source: include_str!("nic_errors.rs"),
    judge,
};

/// node_exporter mixin, awesome-prometheus-alerts: part of the packets.
const ERRORS: Ratio = Ratio(0.01);

/// ours: a few are cosmic; nobody publishes a least number.
const MIN_ERRORS: f64 = 10.0;

/// Netdata: part of the packets, of which there are more than [`MIN_PACKETS`].
const DROPS: Ratio = Ratio(0.02);

struct Interface<'a> {
    name: &'a str,
    direction: &'a str,
    packets: f64,
    errors: f64,
    dropped: f64,
    light: Light,
}

impl Interface<'_> {
    fn share_of(&self, lost: f64) -> Ratio {
        // Packets with errors are not among those that were counted as received or sent.
        Ratio::of_counts(lost, self.packets + lost)
    }
}

fn judge(rec: &Recording) -> Observed<Verdict> {
    let rows = rec.get(&catalog::NET_PACKETS)?;
    let mut interfaces = Vec::new();
    for row in rows {
        let (name, direction) = (row.labels.get("device"), row.labels.get("direction"));
        if matches!(name, "lo" | "target/lo") {
            continue;
        }
        // An interface that came at the end has one reading.
        let Ok(packets) = Growth::of(row) else { continue };
        let labels = [("device", name), ("direction", direction)];
        let lost = |metric| Growth::find(rec, metric, &labels).map_or(0.0, |growth| growth.by);
        let (errors, dropped) = (lost(&catalog::NET_ERRORS), lost(&catalog::NET_DROPPED));
        let mut one = Interface { name, direction, packets: packets.by, errors, dropped, light: Light::Good };
        one.light = if errors >= MIN_ERRORS && one.share_of(errors) > ERRORS {
            Light::Bad
        } else if (packets.by + dropped > MIN_PACKETS && one.share_of(dropped) >= DROPS) || errors >= MIN_ERRORS {
            Light::Maybe
        } else {
            Light::Good
        };
        interfaces.push(one);
    }
    let key = |one: &Interface| (one.errors, one.dropped, one.packets);
    let worst = interfaces
        .iter()
        .max_by(|a, b| a.light.cmp(&b.light).then(key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal)));
    let Some(worst) = worst else {
        return Err(Absent::Unsupported("no network interface but loopback".into()));
    };
    let why = format!(
        "{} {}: {:.0} packets with errors ({}) and {:.0} dropped ({}) of {:.0}; the worst of {} interfaces and directions",
        worst.name,
        worst.direction,
        worst.errors,
        worst.share_of(worst.errors),
        worst.dropped,
        worst.share_of(worst.dropped),
        worst.packets,
        interfaces.len(),
    );
    let evidence = |what: &str, lost: f64, threshold: String| {
        Evidence::new(format!("/proc/net/dev: {} {what}", worst.name), worst.share_of(lost).0 * 100.0, "%")
            .against(threshold)
            .at("recording/series.parquet")
    };
    let evidence = vec![
        evidence("errors", worst.errors, format!("> {ERRORS}")),
        evidence("dropped", worst.dropped, format!(">= {DROPS}")),
    ];
    Ok(Verdict { light: worst.light, why, evidence })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};

    fn interface(packets: f64, errors: f64, dropped: f64) -> Light {
        light(&CHECK, &Machine::new().interface("eth0", packets, errors, dropped))
    }

    #[test]
    fn errors() {
        assert_eq!(interface(9900.0, 9.0, 0.0), Light::Good);
        assert_eq!(interface(9900.0, 10.0, 0.0), Light::Maybe);
        assert_eq!(interface(9900.0, 100.0, 0.0), Light::Maybe, "one in a hundred");
        assert_eq!(interface(9900.0, 101.0, 0.0), Light::Bad);
        assert_eq!(interface(20.0, 9.0, 0.0), Light::Good, "too few");
    }

    #[test]
    fn drops() {
        assert_eq!(interface(19_600.0, 0.0, 399.0), Light::Good);
        assert_eq!(interface(19_600.0, 0.0, 400.0), Light::Maybe);
        assert_eq!(interface(5000.0, 0.0, 5000.0), Light::Good, "little traffic");
    }

    #[test]
    fn loopback_alone_is_no_answer() {
        assert_eq!(light(&CHECK, &Machine::new().interface("lo", 1e6, 0.0, 0.0)), Light::Untested);
        assert_eq!(light(&CHECK, &Machine::new()), Light::Untested);
    }
}
