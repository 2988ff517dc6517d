//! Friday: what did experiments prove?

use crate::Seen;

/// One line for each experiment.
pub(crate) fn known(seen: &Seen) -> Vec<String> {
    diagnosis::experiments(seen.rec).into_iter().map(|tried| tried.said).collect()
}

#[cfg(test)]
mod tests {
    use observe::{Fact, Host, Labels, Recording, Target, Window, catalog};
    use std::time::{Duration, SystemTime};

    #[test]
    fn what_was_tried_is_part_of_the_week() {
        let host = Host { name: "h".into(), kernel: "6".into(), cpus: 2, memory_bytes: 1 };
        let window = Window { start: SystemTime::UNIX_EPOCH, length: Duration::from_secs(1) };
        let mut rec = Recording::new(host, Target::system("h"), window);
        let of = |rec: &Recording| crate::conclude(rec, "case").days.into_iter().find(|day| day.day == "friday");
        assert!(of(&rec).is_none(), "nothing was tried");
        let value = r#"{"kind":"freeze","about":"","cause":"cpu.saturated","victim":1,"culprit":2,"expect":"helps",
            "verdict":"confirmed","said":"confirmed: it helps.","measure":null,"beside":[],"dose":null,"notes":[]}"#;
        rec.push(
            &catalog::EXPERIMENT,
            Fact { labels: Labels::default(), value: value.to_owned(), source: String::new() },
        );
        assert_eq!(of(&rec).unwrap().known, ["confirmed: it helps."]);
    }
}
