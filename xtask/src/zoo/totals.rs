//! The last line: what all runs come to.

use super::row::Row;
use super::score::Mark;
use crate::results::median;

/// The totals over all runs, in a line. Where friday was not told the target, how often the first finding has the right
/// cause is all that matters.
pub fn line(rows: &[Row], system: bool) -> String {
    let marks: Vec<Mark> = rows.iter().filter_map(|row| row.mark).collect();
    let count = |wanted: &[Mark]| marks.iter().filter(|mark| wanted.contains(mark)).count();
    let healthy = count(&[Mark::Quiet, Mark::FalsePositive]);
    let faults = marks.len() - healthy;
    let seconds: Vec<f64> = rows.iter().filter_map(|row| row.wall_seconds).collect();
    let median = median(&seconds).unwrap_or(0.0);
    if system {
        let first = rows.iter().filter(|row| row.cause_is_right()).count();
        return format!("system first-cause {first}/{faults} median-seconds {median:.1}");
    }
    let top1 = count(&[Mark::Top1, Mark::Half]);
    let top3 = count(&[Mark::Top1, Mark::Top3]);
    let alarms = count(&[Mark::FalsePositive]);
    format!("top1 {top1}/{faults} top3 {top3}/{faults} false-positives {alarms}/{healthy} median-seconds {median:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(mark: Mark, seconds: f64) -> Row {
        Row {
            truth: "cpu.saturated + app.sleeps".into(),
            said: if mark == Mark::Miss { "app.sleeps" } else { "disk.slow" }.into(),
            mark: Some(mark),
            wall_seconds: Some(seconds),
            ..Row::default()
        }
    }

    #[test]
    fn totals_make_the_last_line() {
        assert_eq!(line(&[], false), "top1 0/0 top3 0/0 false-positives 0/0 median-seconds 0.0");
        let marks = [Mark::Top1, Mark::Top3, Mark::Half, Mark::Miss, Mark::Quiet, Mark::FalsePositive];
        let mut rows: Vec<Row> = marks
            .into_iter()
            .zip([9.0, 12.0, 11.0, 11.0, 10.0, 30.0])
            .map(|(mark, seconds)| row(mark, seconds))
            .collect();
        rows.push(Row::default());
        assert_eq!(line(&rows, false), "top1 2/4 top3 2/4 false-positives 1/2 median-seconds 11.0");
        assert_eq!(line(&rows[..4], true), "system first-cause 1/4 median-seconds 11.0");
    }
}
