//! Numbers for people: three significant digits, units, thousands separators.

use case::{Document, TargetPart};
use checks::{Evidence, Light};
use diagnosis::{Confidence, Finding, Party, ShareIs};
use observe::{Bytes, Ratio, TargetKind};
use std::time::Duration;

/// A length of time: `812 ns`, `12.3 µs`, `4.56 ms`, `12.4 s`, `1,840 s`.
pub fn duration(time: Duration) -> String {
    let ns = time.as_nanos() as f64;
    match ns {
        _ if ns < 999.5 => format!("{ns:.0} ns"),
        _ if ns < 999.5e3 => format!("{} µs", digits(ns / 1e3)),
        _ if ns < 999.5e6 => format!("{} ms", digits(ns / 1e6)),
        _ => format!("{} s", digits(ns / 1e9)),
    }
}

/// [`duration`] of seconds; negative or absurd numbers are shown as they are.
pub fn seconds(seconds: f64) -> String {
    if seconds == 0.0 {
        return "0 s".to_owned();
    }
    Duration::try_from_secs_f64(seconds).map_or_else(|_| format!("{} s", digits(seconds)), duration)
}

/// Three significant digits, whole numbers whole, thousands separated.
pub fn digits(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || size >= 1e15 || (size > 0.0 && size < 1e-4) {
        return format!("{value:e}");
    }
    let whole = value.fract() == 0.0;
    match size {
        _ if whole || size >= 99.95 => {
            let sign = if value < 0.0 && size >= 0.5 { "-" } else { "" };
            format!("{sign}{}", count(size.round() as u64))
        }
        _ if size >= 9.995 => format!("{value:.1}"),
        _ if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// A count with thousands separators.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with its noun.
pub fn plural(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// A value with its unit.
pub fn value(value: f64, unit: &str) -> String {
    match unit {
        "s" => seconds(value),
        "ns" if value >= 0.0 => seconds(value / 1e9),
        "us" | "µs" if value >= 0.0 => seconds(value / 1e6),
        "ms" if value >= 0.0 => seconds(value / 1e3),
        "By" | "bytes" if value >= 0.0 => Bytes(value as u64).to_string(),
        "" | "1" => digits(value),
        _ => format!("{} {}", digits(value), unit.trim_matches(['{', '}'])),
    }
}

/// The value of a piece of evidence.
pub fn evidence_value(evidence: &Evidence) -> String {
    value(evidence.value, &evidence.unit)
}

/// `at most 62 %` or `62 %`.
pub fn share(finding: &Finding) -> String {
    match finding.share_is {
        ShareIs::AtMost => format!("at most {}", finding.share),
        ShareIs::Estimate => finding.share.to_string(),
    }
}

/// A victim or culprit without its kind: `redis-server (812)`, `/web.slice — cpu.max 20000 100000`.
pub fn party_name(party: &Party) -> String {
    match party.pid {
        Some(pid) => format!("{} ({pid})", party.name),
        None => party.name.clone(),
    }
}

/// A victim or culprit in full.
pub fn party(party: &Party) -> String {
    match &party.detail {
        Some(detail) => format!("{} {}: {detail}", party.kind, party_name(party)),
        None => format!("{} {}", party.kind, party_name(party)),
    }
}

/// How sure, in a word.
pub fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Confirmed => "confirmed",
        Confidence::Likely => "likely",
        Confidence::Possible => "possible",
    }
}

/// A light, in a word.
pub fn light(light: Light) -> &'static str {
    match light {
        Light::Good => "good",
        Light::Maybe => "maybe",
        Light::Bad => "bad",
        Light::Untested => "untested",
    }
}

/// The target, in words.
pub fn target(target: &TargetPart) -> String {
    let kind = match target.kind {
        TargetKind::System => return "the whole system".to_owned(),
        TargetKind::Process => "process",
        TargetKind::Cgroup => "cgroup",
        TargetKind::Unit => "unit",
        TargetKind::Command => "command",
    };
    match target.pid {
        Some(pid) => format!("{kind} {} (pid {pid})", target.name),
        None => format!("{kind} {}", target.name),
    }
}

/// The window, in words.
pub fn window(document: &Document) -> String {
    format!("{} from {}", seconds(document.window.seconds), document.window.start)
}

/// The machine, in words.
pub fn host(document: &Document) -> String {
    let host = &document.host;
    let cpus = plural(u64::from(host.cpus), "CPU", "CPUs");
    format!("{}: Linux {}, {cpus}, {} of memory", host.name, host.kernel, Bytes(host.memory_bytes))
}

/// A day of the agenda, with a capital.
pub fn day(day: &str) -> String {
    match day {
        "prior" => "Prior weeks".to_owned(),
        "post" => "Post weeks".to_owned(),
        _ => {
            let mut chars = day.chars();
            chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
        }
    }
}

/// A percentage of a part between 0 and 1.
pub fn percent(part: f64) -> String {
    // The sum of nothing is -0.
    Ratio(part + 0.0).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let ns = |ns| duration(Duration::from_nanos(ns));
        assert_eq!([ns(0), ns(812), ns(12_340), ns(4_560_000)], ["0 ns", "812 ns", "12.3 µs", "4.56 ms"]);
        assert_eq!([ns(999_600), ns(12_400_000_000), ns(1_840_000_000_000)], ["1.00 ms", "12.4 s", "1,840 s"]);
        assert_eq!(seconds(-2.5), "-2.50 s");
    }

    #[test]
    fn values_keep_their_unit() {
        assert_eq!(value(181.0, "periods"), "181 periods");
        assert_eq!(value(0.0042, "s"), "4.20 ms");
        assert_eq!(value(1_234_567.0, "{call}"), "1,234,567 call");
        assert_eq!(value(62.0, "%"), "62 %");
        assert_eq!(value(1536.0, "By"), "1.5 KiB");
        assert_eq!(value(0.25, "1"), "0.25");
        assert_eq!(value(f64::NAN, "x"), "NaN x");
    }
}
