//! Moments as logs write them, in seconds since 1970.

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    /// With its zone: seconds since 1970.
    Exact(i64),
    /// As the machine's own clock shows it, counted as if it stood at Greenwich.
    Local(i64),
}

/// What turns a local moment into seconds since 1970.
pub(super) type Zone = fn(i64) -> i64;

impl Stamp {
    pub(super) fn unix(self, zone: Zone) -> i64 {
        match self {
            Stamp::Exact(at) => at,
            Stamp::Local(at) => zone(at),
        }
    }

    /// `2026-11-20 10:11:12`, `2026-11-20T10:11:12+0000`, with `Z`, `+02:00`, `+00`, or without seconds; what follows a
    /// moment without a zone is left alone.
    pub(super) fn parse(text: &str) -> Option<Stamp> {
        let number = |from: usize, len: usize| -> Option<i64> { text.get(from..from + len)?.parse().ok() };
        let apart = |at: usize, marks: &str| text.get(at..=at).is_some_and(|mark| marks.contains(mark));
        if !(apart(4, "-") && apart(7, "-") && apart(10, " T") && apart(13, ":")) {
            return None;
        }
        let (second, rest) = if apart(16, ":") { (number(17, 2)?, text.get(19..)?) } else { (0, text.get(16..)?) };
        let local = seconds([number(0, 4)?, number(5, 2)?, number(8, 2)?, number(11, 2)?, number(14, 2)?, second])?;
        Some(match rest.as_bytes().first() {
            Some(b'Z') => Stamp::Exact(local),
            Some(sign @ (b'+' | b'-')) => {
                let digits: String = rest[1..].chars().filter(|c| *c != ':').take_while(char::is_ascii_digit).collect();
                let (hours, minutes) = (digits.get(..2)?.parse::<i64>().ok()?, digits.get(2..4));
                let east = hours * 3600 + minutes.map_or(Some(0), |minutes| minutes.parse::<i64>().ok())? * 60;
                Stamp::Exact(if *sign == b'+' { local - east } else { local + east })
            }
            _ => Stamp::Local(local),
        })
    }

    /// `Jan 05 10:11:12`, which has no year: the last such day that is not after `now`.
    pub(super) fn without_year(text: &str, now: i64) -> Option<Stamp> {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        /// The clocks of zones differ by as much.
        const DAY: i64 = 86_400;
        let month = MONTHS.iter().position(|month| text.get(..3) == Some(month))? as i64 + 1;
        let number = |from: usize| -> Option<i64> { text.get(from..from + 2)?.trim().parse().ok() };
        let this = 1970 + now / 31_556_952;
        let of = |year| seconds([year, month, number(4)?, number(7)?, number(10)?, number(13)?]);
        [this + 1, this, this - 1].into_iter().filter_map(of).find(|at| *at <= now + DAY).map(Stamp::Local)
    }
}

/// Year, month, day, hour, minute and second as seconds since 1970 at Greenwich; `None` when there is no such moment.
// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": days_from_civil.
fn seconds([year, month, day, hour, minute, second]: [i64; 6]) -> Option<i64> {
    let sane = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sane || !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// The zone of this machine.
pub(super) fn here(local: i64) -> i64 {
    // What the local clock shows, in parts: gmtime undoes what `seconds` did.
    // SAFETY: `tm` is plain data, all-zero is a value of it, and both calls only read and write what they are given.
    let at = unsafe {
        let mut parts: libc::tm = std::mem::zeroed();
        if libc::gmtime_r(&local, &mut parts).is_null() {
            return local;
        }
        // Whether it was summer time is for the zone to say.
        parts.tm_isdst = -1;
        libc::mktime(&mut parts)
    };
    if at == -1 { local } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_logs_write_them() {
        // date -u -d '2026-11-20 10:11:12' +%s
        const AT: i64 = 1_795_169_472;
        assert_eq!(Stamp::parse("2026-11-20 10:11:12 upgrade x"), Some(Stamp::Local(AT)));
        for exact in
            ["2026-11-20T10:11:12Z", "2026-11-20T12:11:12+0200", "2026-11-20T04:41:12-05:30", "2026-11-20T10:11:12+00"]
        {
            assert_eq!(Stamp::parse(exact), Some(Stamp::Exact(AT)), "{exact}");
        }
        assert_eq!(Stamp::parse("2026-11-20 10:11] [ALPM]"), Some(Stamp::Local(AT - 12)));
        for none in ["", "startup", "2026-13-20 10:11:12", "2026-11-20 25:11:12", "2026-11-20", "ÄÖ26-11-20 10:11:12"]
        {
            assert_eq!(Stamp::parse(none), None, "{none}");
        }
        assert_eq!(seconds([1970, 1, 1, 0, 0, 0]), Some(0));
        assert_eq!(seconds([2024, 2, 29, 0, 0, 0]), Some(1_709_164_800));
    }

    #[test]
    fn a_moment_without_a_year_is_the_last_one() {
        const NOW: i64 = 1_767_600_000; // 2026-01-05 08:00:00
        assert_eq!(Stamp::without_year("Jan 04 08:00:00 Updated: x", NOW), Some(Stamp::Local(NOW - 86_400)));
        assert_eq!(Stamp::without_year("Dec 31 08:00:00 Updated: x", NOW), Some(Stamp::Local(NOW - 5 * 86_400)));
        assert_eq!(Stamp::without_year("Foo 31 08:00:00", NOW), None);
    }

    #[test]
    fn a_local_moment_is_turned_by_its_zone() {
        assert_eq!(Stamp::Local(7200).unix(|at| at - 3600), 3600);
        assert_eq!(Stamp::Exact(7200).unix(|at| at - 3600), 7200);
        // No zone is further from Greenwich than 14 hours.
        assert!((here(1_795_169_472) - 1_795_169_472).abs() <= 14 * 3600);
    }
}
