//! In which column a box stands: who asks is left of who is asked.

use super::{By, Edge, Kind, Node};
use std::collections::BTreeSet;

/// ours: columns of services; a longer chain goes on within the last.
const COLUMNS: usize = 4;

/// Gives each box its column.
pub fn rank(nodes: &mut [Node], edges: &[Edge]) {
    let is_service = |at: usize| nodes[at].kind == Kind::Service;
    let between: Vec<(usize, usize)> =
        edges.iter().map(|e| (e.from, e.to)).filter(|(a, b)| is_service(*a) && is_service(*b)).collect();
    let forward = without_circles(nodes.len(), &between);
    let mut column = vec![0usize; nodes.len()];
    for _ in 0..COLUMNS {
        for (from, to) in &forward {
            column[*to] = column[*to].max((column[*from] + 1).min(COLUMNS - 1));
        }
    }
    let last = (0..nodes.len()).filter(|at| is_service(*at)).map(|at| column[at]).max().unwrap_or(0);
    let asked = |at: usize| edges.iter().any(|edge| edge.to == at);
    // Whoever nobody asks stands just before what it asks, and beside the file systems when it asks nobody.
    let moved: Vec<(usize, usize)> = (0..nodes.len())
        .filter(|at| is_service(*at) && !asked(*at))
        .map(|at| {
            let next = forward.iter().filter(|(from, _)| *from == at).map(|(_, to)| column[*to]).min();
            (at, next.map_or(last, |next| next.saturating_sub(1)))
        })
        .collect();
    moved.into_iter().for_each(|(at, to)| column[at] = to);
    let lies = |at: usize| edges.iter().any(|edge| edge.from == at && edge.by == By::On);
    let places: Vec<usize> = (0..nodes.len())
        .map(|at| match nodes[at].kind {
            Kind::Client => 0,
            Kind::Service => 1 + column[at],
            Kind::Server | Kind::FileSystem => 2 + last,
            Kind::Volume => 3 + last,
            Kind::Interface if lies(at) => 3 + last,
            _ => 4 + last,
        })
        .collect();
    let used: BTreeSet<usize> = places.iter().copied().collect();
    for (node, place) in nodes.iter_mut().zip(places) {
        node.rank = used.range(..place).count();
    }
}

/// The edges without those that lead back to where one came from.
fn without_circles(count: usize, edges: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut kept: Vec<(usize, usize)> = Vec::new();
    for (from, to) in edges {
        let mut reached = vec![*to];
        let mut seen = vec![false; count];
        while let Some(at) = reached.pop() {
            if !std::mem::replace(&mut seen[at], true) {
                reached.extend(kept.iter().filter(|(from, _)| *from == at).map(|(_, to)| *to));
            }
        }
        if !seen[*from] {
            kept.push((*from, *to));
        }
    }
    kept
}
