//! Judges the board of lights: is the component at fault lit, and are the others not?

use super::scenario::Scenario;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A day of a case.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Day {
    /// Its name.
    pub day: String,
    /// Its lights.
    #[serde(default)]
    pub tests: Vec<Light>,
}

/// One light.
#[derive(Clone, Debug, Deserialize)]
pub struct Light {
    /// What was tested.
    pub id: String,
    /// The component.
    #[serde(default)]
    pub group: String,
    /// `good`, `maybe`, `bad` or `untested`.
    pub verdict: String,
}

/// What the board of one run comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// Whether a light of the component at fault is maybe or bad; absent where no component of the board is at fault.
    pub lit: Option<bool>,
    /// Lights of other components that were tested.
    pub others: usize,
    /// Those of them that are good.
    pub good: usize,
    /// Those of them that are bad, to be looked at: some are consequences of the fault.
    pub bad: Vec<String>,
}

/// The components that a fault may show in. Nothing where the board has none for it: what a program does by itself.
fn at_fault(cause: &str) -> &'static [&'static str] {
    match cause {
        "cpu.throttled" => &["cgroup", "cpu", "sched"],
        "cpu.steal" => &["virtualization", "cpu"],
        "cpu.interrupts" => &["irq", "cpu", "virtualization"],
        "cpu.hot-code" | "cpu.single-thread" | "cpu.spin" => &[],
        "mem.cgroup-limit" | "mem.oom" => &["cgroup", "memory"],
        "mem.major-faults" => &["memory", "page cache", "block devices"],
        "cache.misses" => &["page cache", "block devices"],
        "net.dns" => &["dns"],
        "net.drops" => &["network interfaces", "udp", "sockets"],
        "net.ports" => &["tcp", "sockets", "conntrack"],
        "disk.throttled" => &["cgroup", "block devices"],
        "app.failing-calls" | "app.crash-loop" | "app.short-lived" => &["processes"],
        _ => match cause.split('.').next().unwrap_or_default() {
            "cpu" => &["cpu", "sched"],
            "mem" => &["memory"],
            "disk" => &["block devices"],
            "fs" => &["file systems", "block devices"],
            "net" => &["tcp", "network interfaces", "sockets"],
            "lock" => &["locks"],
            "limits" => &["limits", "processes", "cgroup"],
            "config" => &["file systems", "kernel"],
            _ => &[],
        },
    }
}

/// Judges the lights of Tuesday against a scenario's truth. friday's lights on itself and the known issues are no components.
pub fn judge(scenario: &Scenario, days: &[Day]) -> Board {
    let groups: Vec<&str> = scenario.faults().flat_map(|(cause, _)| at_fault(cause)).copied().collect();
    let lights = days.iter().filter(|day| day.day == "tuesday").flat_map(|day| &day.tests);
    let mut board = Board { lit: (!groups.is_empty()).then_some(false), ..Board::default() };
    for light in lights.filter(|light| !["friday", "known issues"].contains(&light.group.as_str())) {
        let alarm = light.verdict == "maybe" || light.verdict == "bad";
        if groups.contains(&light.group.as_str()) {
            board.lit = Some(board.lit == Some(true) || alarm);
        } else if alarm || light.verdict == "good" {
            board.others += 1;
            board.good += usize::from(!alarm);
            board.bad.extend((light.verdict == "bad").then(|| light.id.clone()));
        }
    }
    board
}

/// What the boards of all runs come to: three lines.
pub fn totals<'a>(boards: impl Iterator<Item = &'a Board> + Clone) -> String {
    let with = boards.clone().filter(|board| board.lit.is_some()).count();
    let lit = boards.clone().filter(|board| board.lit == Some(true)).count();
    let of = |count: fn(&Board) -> usize| boards.clone().map(count).sum::<usize>();
    let (good, others) = (of(|board| board.good), of(|board| board.others));
    let least = boards.clone().filter(|board| board.others > 0).map(|board| 100 * board.good / board.others).min();
    let mut bad: BTreeMap<&str, usize> = BTreeMap::new();
    for id in boards.flat_map(|board| &board.bad) {
        *bad.entry(id).or_default() += 1;
    }
    let bad: Vec<String> = bad.iter().map(|(id, runs)| format!("{id} {runs}")).collect();
    format!(
        "board: component-lit {lit}/{with} others-good {good}/{others} least-percent {} bad-elsewhere {}",
        least.map_or("-".into(), |least| least.to_string()),
        if bad.is_empty() { "none".into() } else { bad.join(", ") }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(lights: &[(&str, &str, &str)]) -> Vec<Day> {
        let light = |(id, group, verdict): &(&str, &str, &str)| Light {
            id: (*id).into(),
            group: (*group).into(),
            verdict: (*verdict).into(),
        };
        let tests: Vec<Light> = lights.iter().map(light).collect();
        vec![Day { day: "monday".into(), tests: tests.clone() }, Day { day: "tuesday".into(), tests }]
    }

    fn fault(cause: &str) -> Scenario {
        let text = format!(
            "about = 'x'\ntarget = 'system'\ncause = '{cause}'\nculprit = {{ kind = ['process'], any = ['x'] }}"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn the_component_at_fault_is_lit_and_the_others_are_counted() {
        let days = days(&[
            ("disk.latency", "block devices", "bad"),
            ("disk.errors", "block devices", "good"),
            ("memory.pressure", "memory", "maybe"),
            ("cpu.pressure", "cpu", "good"),
            ("locks.waits", "locks", "bad"),
            ("gpu.errors", "gpu", "untested"),
            ("friday.loss", "friday", "maybe"),
            ("x", "known issues", "bad"),
        ]);
        let board = judge(&fault("disk.saturated"), &days);
        assert_eq!(board, Board { lit: Some(true), others: 3, good: 1, bad: vec!["locks.waits".into()] });
        assert_eq!(judge(&fault("net.dns"), &days).lit, Some(false));
        let none = judge(&fault("app.sleeps"), &days);
        assert_eq!(none.lit, None);
        let text = totals([&board, &none].into_iter());
        assert!(text.contains("component-lit 1/1 others-good 3/8 least-percent 33"), "{text}");
        assert!(text.ends_with("disk.latency 1, locks.waits 2"), "{text}");
    }
}
