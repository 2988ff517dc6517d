//! The table on stdout.

use super::Row;
use super::cases::CASES;
use crate::results::aligned;

const LEGEND: &str = "right: what was done is named, and nothing else but what follows of it (busier CPUs, longer answers); of \
the same again,\nthat nothing is different.\n";

/// Rows are services, columns are cases: how many were right, of how many.
pub fn text(rows: &[Row]) -> String {
    let mut services: Vec<&str> = Vec::new();
    rows.iter().for_each(|row| {
        if !services.contains(&row.service.as_str()) {
            services.push(&row.service);
        }
    });
    let head = std::iter::once("service".to_string()).chain(CASES.map(|case| case.name().to_string()));
    let mut lines = vec![head.collect::<Vec<_>>()];
    for service in services {
        let of = CASES.map(|case| {
            let mine = rows.iter().filter(|row| row.service == service && row.case == case.name());
            let (right, all) = mine.fold((0, 0), |(right, all), row| (right + usize::from(row.right()), all + 1));
            format!("{right}/{all}{}", if right == all { "" } else { " WRONG" })
        });
        lines.push(std::iter::once(service.to_string()).chain(of).collect());
    }
    let mut text = aligned(&lines) + LEGEND;
    for row in rows.iter().filter(|row| !row.right()) {
        text += &format!("wrong: {} round {}, {}: {}\n", row.service, row.round, row.case, row.wrong);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_ones_are_counted_and_wrong_ones_are_told() {
        let row = |service: &str, case: &str, wrong: &str| Row {
            service: service.into(),
            round: 1,
            case: case.into(),
            wrong: wrong.into(),
        };
        let text = text(&[row("a", "same again", ""), row("a", "same again", "busy"), row("b", "slower", "")]);
        assert!(text.contains("1/2 WRONG") && text.contains("1/1") && text.contains("a round 1, same again: busy"));
    }
}
