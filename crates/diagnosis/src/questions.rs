//! How often a request asks another: a query for each row of the one before is slow however fast each is answered.

use crate::{Scene, Victim};
use observe::{Labels, catalog};

/// ours: a request that asks somebody fewer times asks for different things.
const MANY: f64 = 10.0;

/// A victim's questions to one other, where its requests ask it many times each.
pub struct Questions(f64);

impl Questions {
    /// Of those to whom `is` says, by the labels of [`catalog::UPSTREAM`].
    pub fn to(scene: &Scene, victim: &Victim, is: impl Fn(&Labels) -> bool) -> Option<Self> {
        let of_it = |labels: &Labels| labels.pid().is_some_and(|pid| victim.contains(pid));
        let asked = scene.rec.get(&catalog::UPSTREAM).into_iter().flatten();
        // Outside of requests it asks as it likes.
        let asked = asked.filter(|row| of_it(&row.labels) && !row.labels.get("service").is_empty() && is(&row.labels));
        let asked: u64 = asked.map(|row| row.count).sum();
        let served = scene.rec.get(&catalog::REQUESTS).into_iter().flatten().filter(|row| of_it(&row.labels));
        let served: u64 = served.map(|row| row.count).sum();
        let each = asked as f64 / served as f64;
        (served > 0 && each >= MANY).then_some(Questions(each))
    }

    /// A sentence on whom they ask.
    pub fn said(&self, whom: &str) -> String {
        format!(" Each of its requests asks {whom} {:.0} times.", self.0)
    }

    /// What to do about it.
    pub fn next(&self) -> String {
        format!("ask once for what a request now asks {:.0} times (a join, a batch, a pipeline)", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{testing::System, victim};
    use observe::TimeClass;

    #[test]
    fn requests_that_ask_many_times_are_told() {
        let of = |service: &str, count: u64| {
            let rec = System::new()
                .thread(10, "shop", &[(TimeClass::RunningUser, 5.0)])
                .durations(&catalog::REQUESTS, &[("pid", "10"), ("service", "80")], &[(20, 100.0)])
                .asked(10, "10.0.0.2:5432", service, &[(count, 0.5)])
                .asked(10, "10.0.0.3:6379", service, &[(20, 0.5)])
                .target(10)
                .build();
            let scene = Scene::new(&rec);
            let (victims, _) = victim::choose(&scene);
            let to = |peer: &str| Questions::to(&scene, &victims[0], |labels| labels.get("peer") == peer);
            assert!(to("10.0.0.3:6379").is_none(), "one each");
            to("10.0.0.2:5432").map(|questions| questions.said("the store"))
        };
        assert_eq!(of("80", 1000).unwrap(), " Each of its requests asks the store 50 times.");
        assert_eq!(of("80", 60), None, "three each");
        assert_eq!(of("", 1000), None, "not for the sake of requests");
    }
}
