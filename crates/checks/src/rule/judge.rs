//! A health tool's file and a recording to a verdict.

use super::{expression::number, format::Rule, input::everywhere};
use crate::{Evidence, Light, Test, Verdict};
use cel::{Context, Value};
use observe::{Absent, Observed, Recording, reading::Reading};

/// ours: a line is read, a list is not; the rest is in the evidence.
const MOST_NAMED: usize = 3;

impl Rule {
    /// What has to be read for it, besides the catalog's metrics.
    pub fn readings(&self) -> impl Iterator<Item = Reading> + '_ {
        self.inputs.iter().filter_map(|(name, input)| input.reading(&self.id, name))
    }

    /// Where its inputs come from, for people.
    pub fn reads(&self) -> impl Iterator<Item = String> + '_ {
        self.inputs.values().map(super::input::Input::told)
    }

    /// Judges a recording. What could not be seen is untested, with the reason.
    pub fn run(&self, rec: &Recording) -> Test {
        let judged = self.judge(rec);
        let not_here = matches!(judged, Err(Absent::Unsupported(_)));
        let verdict = judged.unwrap_or_else(|absent| Verdict {
            light: Light::Untested,
            why: absent.to_string(),
            evidence: Vec::new(),
        });
        Test {
            id: self.id.clone(),
            group: self.group.clone(),
            verdict: verdict.light,
            why: verdict.why,
            evidence: verdict.evidence,
            not_here,
            remedy: Vec::new(),
        }
    }

    fn judge(&self, rec: &Recording) -> Observed<Verdict> {
        let mut context = everywhere(rec);
        let mut items = None;
        for (name, input) in &self.inputs {
            let value = input.value(rec, &self.id, name)?;
            if let (true, Value::Map(map)) = (self.each.as_ref() == Some(name), &value) {
                let mut keys: Vec<Value> = map.map.keys().map(Value::from).collect();
                keys.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
                items = Some(keys);
            }
            context.add_variable_from_value(name.as_str(), value);
        }
        match (&self.each, items) {
            (None, _) => self.judge_one(&mut context),
            (Some(_), Some(items)) if !items.is_empty() => self.judge_each(&mut context, items),
            (Some(each), _) => Err(Absent::Unsupported(format!("no {each} here"))),
        }
    }

    /// The worst of several, and how many are well.
    fn judge_each(&self, context: &mut Context, items: Vec<Value>) -> Observed<Verdict> {
        let mut verdicts: Vec<(Value, Verdict)> = Vec::new();
        let mut unseen: Option<Absent> = None;
        for item in items {
            context.add_variable_from_value("it", item.clone());
            match self.judge_one(context) {
                Ok(verdict) => verdicts.push((item, verdict)),
                Err(why) => unseen = unseen.or(Some(why)),
            }
        }
        let severity = |light| match light {
            Light::Bad => 3,
            Light::Maybe => 2,
            Light::Good => 1,
            Light::Untested => 0,
        };
        // Stable, so those of one light stay in the order of their names.
        verdicts.sort_by_key(|(_, verdict)| std::cmp::Reverse(severity(verdict.light)));
        let all = verdicts.len();
        let Some((_, worst)) = verdicts.first() else {
            return Err(unseen.unwrap_or_else(|| Absent::Unsupported("nothing to judge".to_owned())));
        };
        let light = worst.light;
        let same: Vec<&Verdict> = verdicts.iter().map(|(_, verdict)| verdict).filter(|v| v.light == light).collect();
        let mut why: Vec<String> =
            same.iter().take(if light == Light::Good { 1 } else { MOST_NAMED }).map(|v| v.why.clone()).collect();
        let others = all - why.len();
        if light == Light::Good && all > 1 {
            why.push(format!("{others} more are good"));
        } else if others > 0 {
            let good = verdicts.iter().filter(|(_, verdict)| verdict.light == Light::Good).count();
            why.push(format!("{others} more, {good} of {all} good"));
        }
        let evidence = verdicts
            .iter()
            .flat_map(|(item, verdict)| {
                let name = if let Value::String(name) = item { name.as_str() } else { "" };
                verdict.evidence.iter().map(move |evidence| Evidence {
                    source: format!("{} {name}", evidence.source).trim_end().to_owned(),
                    ..evidence.clone()
                })
            })
            .collect();
        Ok(Verdict { light, why: why.join("; "), evidence })
    }

    fn judge_one(&self, context: &mut Context) -> Observed<Verdict> {
        let mut evidence = Vec::new();
        for value in &self.values {
            let seen = value.is.value(context)?;
            if let (Some(unit), Some(number)) = (&value.unit, number(&seen)) {
                if !number.is_finite() {
                    return Err(Absent::Failed(format!("{} is not a number: it was divided by zero", value.name)));
                }
                let source = value.source.clone().unwrap_or_else(|| value.name.clone());
                let mut one = Evidence::new(source, number, unit.as_str());
                one.threshold.clone_from(&value.threshold);
                evidence.push(one);
            }
            context.add_variable_from_value(value.name.as_str(), seen);
        }
        for untested in &self.untested {
            if untested.when.holds(context)? {
                let why = untested.why.write(context)?;
                if untested.not_here {
                    return Err(Absent::Unsupported(why));
                }
                return Ok(Verdict { light: Light::Untested, why, evidence });
            }
        }
        let holds = |expression: &Option<super::expression::Expression>| {
            expression.as_ref().map_or(Ok(false), |expression| expression.holds(context))
        };
        let (light, says) = if holds(&self.bad)? {
            (Light::Bad, &self.says.bad)
        } else if holds(&self.maybe)? {
            (Light::Maybe, &self.says.maybe)
        } else {
            (Light::Good, &self.says.good)
        };
        Ok(Verdict { light, why: says.write(context)?, evidence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    const EACH: &str = r#"schema = "friday.health/1"
id = "disk.busy"
question = "Is it?"
measures = "a"
matters = "b"
misleads = "c"
confirm = "d"
sources = ["ours: a test"]
each = "busy"

[input.busy]
metric = "system.disk.io_time"
key = "device"

[input.wait]
lost = ["blocked.disk"]

[[value]]
name = "part"
is = "busy[it].rate"
unit = "1"
threshold = "> 0.8"
source = "/proc/diskstats"

[[untested]]
when = "it == 'loop0'"
why = "{it} is a file"

[verdict]
bad = "part > 0.8 && wait.felt"
maybe = "part > 0.8"

[says]
good = "{it} {part|percent} busy"
maybe = "{it} {part|percent} busy, nobody waits"
bad = "{it} {part|percent} busy, {wait.who} waits"
"#;

    fn run(machine: &Machine) -> Test {
        Rule::parse("x.toml", EACH).unwrap().run(&machine.rec)
    }

    #[test]
    fn the_worst_item_is_told_and_the_others_are_counted() {
        let test = run(&Machine::saturated().disk("vdb", 0.1, 0.1, 9.0));
        assert_eq!(test.verdict, Light::Bad);
        assert_eq!(test.why, "vda 99 % busy, api (pid 7) waits; 1 more, 1 of 2 good");
        assert_eq!(test.evidence.len(), 2);
        assert_eq!(test.evidence[0].source, "/proc/diskstats vda");
        assert_eq!(test.evidence[0].threshold.as_deref(), Some("> 0.8"));
        let calm = run(&Machine::idle().disk("vdb", 0.9, 0.1, 9.0));
        assert_eq!(
            (calm.verdict, calm.why.as_str()),
            (Light::Maybe, "vdb 90 % busy, nobody waits; 1 more, 1 of 2 good")
        );
        let good = run(&Machine::idle().disk("vdb", 0.1, 0.1, 9.0));
        assert_eq!((good.verdict, good.why.as_str()), (Light::Good, "vda 1.0 % busy; 1 more are good"));
    }

    #[test]
    fn what_is_missing_is_untested_with_its_reason() {
        let test = run(&Machine::new());
        assert!(test.verdict == Light::Untested && test.why.contains("system.disk.io_time"), "{}", test.why);
        let mut machine = Machine::idle();
        machine.rec.set(&observe::catalog::DISK_BUSY, Ok(Vec::new()));
        assert!(run(&machine).why.contains("no busy here"));
        let machine = machine.counter(&observe::catalog::DISK_BUSY, &[("device", "loop0")], 1.0);
        let test = run(&machine);
        assert_eq!((test.verdict, test.why.as_str(), test.not_here), (Light::Untested, "loop0 is a file", false));
        let text = EACH.replace("why = \"{it} is a file\"", "why = \"{it} is a file\"\nnot_here = true");
        let test = Rule::parse("x.toml", &text).unwrap().run(&machine.rec);
        assert!(test.verdict == Light::Untested && test.not_here && test.why.contains("loop0 is a file"), "{test:?}");
    }
}
