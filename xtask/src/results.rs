//! What the zoo, the benchmark, the survey and the truth share about their results.

use std::path::Path;
use std::process::{Command, Stdio};

/// Now, as a file name.
pub fn now() -> Result<String, String> {
    let date = Command::new("date").args(["-u", "+%Y%m%dT%H%M%SZ"]).stderr(Stdio::inherit()).output();
    Ok(String::from_utf8_lossy(&date.map_err(|e| format!("date: {e}"))?.stdout).trim().to_string())
}

/// Makes the results the property of the user who called sudo.
pub fn give_to_caller(folder: &Path) {
    if let (Ok(user), Ok(group)) = (std::env::var("SUDO_UID"), std::env::var("SUDO_GID")) {
        let _ = Command::new("chown").arg("-R").arg(format!("{user}:{group}")).arg(folder).status();
    }
}

/// The middle of some numbers; `None` where there are none.
pub fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        even if even % 2 == 0 => Some((sorted[half - 1] + sorted[half]) / 2.0),
        _ => Some(sorted[half]),
    }
}

/// Columns as wide as their widest cell.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |text: &str| text.chars().count();
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|text| wide(text)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        cells.join("  ").trim_end().to_string() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_middle_is_found_whatever_the_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
