//! Tuesday: which components is it, and which is it not?

use crate::Seen;
use checks::Light;
use diagnosis::Confidence;

/// The lights in a line, the components that remain, and how many are ruled out.
pub(crate) fn known(seen: &Seen) -> Vec<String> {
    let count = |light| seen.tests.iter().filter(|t| t.verdict == light).count();
    let mut known = Vec::new();
    if count(Light::Good) + count(Light::Maybe) + count(Light::Bad) > 0 {
        known.push(format!(
            "{} lights good, {} maybe, {} bad, {} untested",
            count(Light::Good),
            count(Light::Maybe),
            count(Light::Bad),
            count(Light::Untested)
        ));
    }
    let mut components: Vec<&str> = seen
        .diagnosis
        .findings
        .iter()
        .filter(|f| f.confidence >= Confidence::Likely)
        .filter_map(|f| f.cause.split('.').next())
        .collect();
    components.dedup();
    components.truncate(4);
    if !components.is_empty() {
        known.push(format!("it is these components: {}", components.join(", ")));
    }
    let ruled_out = seen.diagnosis.eliminated.len();
    if ruled_out > 0 {
        known.push(format!("{ruled_out} components ruled out, each with its number"));
    }
    known
}
