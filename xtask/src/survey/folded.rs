//! From folded stacks to the innermost functions of some processes.

use super::compare::Flat;
use super::names;
use std::collections::BTreeSet;

/// Samples by innermost function, of the processes with these names.
pub fn flat(text: &str, processes: &BTreeSet<String>) -> Flat {
    let mut flat = Flat::default();
    for line in text.lines() {
        let Some((stack, count)) = line.rsplit_once(' ') else { continue };
        let (Some(process), Ok(count)) = (stack.split(';').next(), count.parse()) else { continue };
        if processes.contains(process) {
            flat.add(names::friday(stack.rsplit(';').next().unwrap_or_default()), count);
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_function_counts() {
        let text = "shop;main;serve;read;vfs_read_[k] 3\nshop;main;[libz.so] 2\nshop;main 1\nother;main 9\nshop 1\n";
        let flat = flat(text, &BTreeSet::from(["shop".to_string()]));
        assert_eq!(flat.total(), 7);
        assert_eq!(flat.percent("[k] vfs_read").round(), 43.0);
        assert_eq!(flat.percent("[libz.so]").round(), 29.0);
    }
}
