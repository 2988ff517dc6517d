//! # Is name resolution slow?
//!
//! **Measures** how long processes were blocked on a socket to a name server (port 53), and how many questions were asked.
//! **Matters** because a new connection begins with it, and a server that does not answer costs five seconds before the
//! next is tried.
//! **Misleads** when a program waits for answers together with other things (an event loop): such waits are not told
//! apart, and the check says that it does not know. Questions over TCP, TLS or HTTPS are not seen.
//! **Confirm** by asking each server by hand (`--allow load`).

use crate::{
    Check, Evidence, Light, Verdict,
    lost::{full_ledger, is_ordinary},
    net::{is_felt, is_somebodys, sum},
};
use observe::{Absent, Observed, Pid, Recording, Series, Wait, catalog};
use std::{collections::BTreeMap, time::Duration};

/// Stands in the registry.
pub const CHECK: Check =
    Check { id: "net.dns", group: "dns", question: "Is name resolution slow?", source: include_str!("dns.rs"), judge };

/// Coroot (there of the 95th percentile): here of the mean, as single waits are not kept.
const SLOW: Duration = Duration::from_millis(100);

/// ours: a mean of fewer waits is one lookup, or two.
const MIN_WAITS: u64 = 3;

/// ours, from resolv.conf(5): the resolver waits five seconds for an answer; more than half of that is no answer.
const NO_ANSWER: Duration = Duration::from_millis(2500);

#[derive(Default)]
struct Asked<'a> {
    server: &'a str,
    time: Duration,
    count: u64,
    longest: Duration,
}

impl Asked<'_> {
    fn mean(&self) -> Duration {
        self.time / u32::try_from(self.count.max(1)).unwrap_or(u32::MAX)
    }

    fn light(&self, rec: &Recording) -> Light {
        let slow = (self.count >= MIN_WAITS && self.mean() > SLOW) || self.longest >= NO_ANSWER;
        match slow {
            true if is_felt(rec, self.time) => Light::Bad,
            true => Light::Maybe,
            false => Light::Good,
        }
    }
}

fn judge(rec: &Recording) -> Observed<Verdict> {
    let questions = rec.get(&catalog::DNS_LOOKUPS)?;
    full_ledger(rec)?;
    let questions = sum(questions.iter().filter(|row| is_somebodys(rec, &row.labels)).map(Series::last));
    let mut waits: BTreeMap<(Pid, &str), Asked> = BTreeMap::new();
    for (wait, server) in rec.get(&catalog::WAITS)?.iter().filter_map(|wait| Some((wait, server_of(wait)?))) {
        if is_ordinary(rec, wait.pid) {
            let asked = waits.entry((wait.pid, server)).or_default();
            asked.server = server;
            asked.time += wait.time;
            asked.count += wait.count;
            asked.longest = asked.longest.max(wait.longest);
        }
    }
    let judged = waits.iter().map(|((pid, _), asked)| (asked.light(rec), asked.time, *pid, asked));
    let Some((light, _, pid, worst)) = judged.max_by_key(|(light, time, ..)| (*light, *time)) else {
        if questions > 0.0 {
            let why = format!("{questions:.0} questions, and nobody was seen waiting for the answers alone");
            return Err(Absent::NotCollected(why));
        }
        let why = "no name server was asked".to_owned();
        return Ok(Verdict { light: Light::Good, why, evidence: Vec::new() });
    };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let why = format!(
        "{} (pid {pid}) waited {} times for {}, {:.2} s in all, mean {:.1} ms, the longest {:.1} ms; {questions:.0} \
         questions in all, {} lost",
        rec.process_name(pid),
        worst.count,
        worst.server,
        worst.time.as_secs_f64(),
        ms(worst.mean()),
        ms(worst.longest),
        rec.cost.lost_events,
    );
    let evidence = Evidence::new("ledger: mean wait for a name server", ms(worst.mean()), "ms")
        .against(format!("> {} ms", ms(SLOW)))
        .at("recording/waits.parquet");
    Ok(Verdict { light, why, evidence: vec![evidence] })
}

/// The name server that a wait is for.
fn server_of(wait: &Wait) -> Option<&str> {
    let (_, end) = wait.resource.split_once(':')?;
    end.ends_with(":53").then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, light};
    use observe::TimeClass;

    fn waits(time: f64, count: u64) -> Machine {
        Machine::new().questions(7, count as f64).thread(7, "api", &[(TimeClass::BlockedNetwork, time)]).wait(
            7,
            TimeClass::BlockedNetwork,
            "tcp:10.0.0.53:53",
            None,
            time,
            count,
        )
    }

    #[test]
    fn boundaries() {
        assert_eq!(light(&CHECK, &waits(0.5, 5)), Light::Good, "100 ms");
        assert_eq!(light(&CHECK, &waits(0.51, 5)), Light::Maybe);
        assert_eq!(light(&CHECK, &waits(1.0, 2)), Light::Good, "too few");
        assert_eq!(light(&CHECK, &waits(1.5, 5)), Light::Bad);
        assert_eq!(light(&CHECK, &waits(2.5, 1)), Light::Bad, "no answer");
        assert_eq!(light(&CHECK, &waits(2.4, 1)), Light::Good);
        assert_eq!(light(&CHECK, &waits(1.5, 5).friday(7)), Light::Good);
    }

    #[test]
    fn questions_whose_waits_are_not_seen_are_no_answer() {
        let mut machine = Machine::new().questions(7, 9.0).thread(7, "node", &[(TimeClass::RunningUser, 1.0)]);
        machine.rec.set(&catalog::WAITS, Ok(Vec::new()));
        assert_eq!(light(&CHECK, &machine), Light::Untested);
        machine.rec.set(&catalog::DNS_LOOKUPS, Ok(Vec::new()));
        assert_eq!(light(&CHECK, &machine), Light::Good, "nobody asked");
        assert_eq!(light(&CHECK, &Machine::new()), Light::Untested);
    }
}
