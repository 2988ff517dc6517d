//! Where boxes and lines go: boxes in columns, lines from left to right past the boxes between, few of which cross. After
//! Sugiyama, Tagawa and Toda (1981): places for long lines in the columns between, order by the mean of the neighbours, then
//! heights that are nearest to those of the neighbours while nothing overlaps. Pure.

/// Between two columns: room for a label and a bend.
pub const GAP: f64 = 96.0;
/// Between two boxes of a column.
const APART: f64 = 18.0;
/// What a line takes that passes a column.
const LANE: f64 = 9.0;
/// ours: more sweeps change nothing.
const SWEEPS: usize = 12;

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub column: usize,
    pub width: f64,
    pub height: f64,
}

/// A box or label with its place: the left upper corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Rect {
    pub fn overlaps(&self, other: &Rect) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }

    pub fn right(&self) -> f64 {
        self.x + self.width
    }
}

/// Points of a line: it goes level through each of them, and bends between.
pub type Way = Vec<(f64, f64)>;

/// Where everything is.
#[derive(Debug, Default)]
pub struct Placed {
    pub boxes: Vec<Rect>,
    /// For each edge, from its first end to its second.
    pub ways: Vec<Way>,
    pub width: f64,
    pub height: f64,
}

/// A box, or the place of a line in a column that it passes.
#[derive(Clone, Copy)]
struct Slot {
    column: usize,
    height: f64,
    middle: f64,
}

/// Places boxes, and lines between them.
pub fn place(sizes: &[Size], edges: &[(usize, usize)]) -> Placed {
    if sizes.is_empty() {
        return Placed::default();
    }
    let mut grid = Grid::new(sizes, edges);
    grid.order();
    grid.level();
    let columns = grid.columns.len();
    let mut left = vec![0.0; columns];
    let mut width = 0.0;
    for (column, left) in left.iter_mut().enumerate() {
        *left = width;
        width += widest(sizes, column) + GAP;
    }
    let boxes: Vec<Rect> = sizes
        .iter()
        .zip(&grid.slots)
        .map(|(size, slot)| {
            let x = left[size.column] + (widest(sizes, size.column) - size.width) / 2.0;
            Rect { x, y: slot.middle - slot.height / 2.0, width: size.width, height: size.height }
        })
        .collect();
    let spans: Vec<(f64, f64)> =
        (0..columns).map(|column| (left[column], left[column] + widest(sizes, column))).collect();
    let ways = grid.ways(edges, &boxes, &spans);
    // Lines within the last column bend out to the right.
    let beyond = ways.iter().flatten().map(|(x, _)| *x).fold(width - GAP, f64::max);
    Placed { height: boxes.iter().map(|b| b.y + b.height).fold(0.0, f64::max), boxes, ways, width: beyond }
}

fn widest(sizes: &[Size], column: usize) -> f64 {
    sizes.iter().filter(|size| size.column == column).map(|size| size.width).fold(0.0, f64::max)
}

struct Grid {
    slots: Vec<Slot>,
    /// Slots from top to bottom.
    columns: Vec<Vec<usize>>,
    /// Of each edge, the slots from left to right; two of one column for an edge within it.
    chains: Vec<Vec<usize>>,
    left: Vec<Vec<usize>>,
    right: Vec<Vec<usize>>,
}

impl Grid {
    fn new(sizes: &[Size], edges: &[(usize, usize)]) -> Grid {
        let mut slots: Vec<Slot> =
            sizes.iter().map(|size| Slot { column: size.column, height: size.height, middle: 0.0 }).collect();
        let mut chains = Vec::new();
        for (from, to) in edges {
            let (first, last) = if slots[*from].column <= slots[*to].column { (*from, *to) } else { (*to, *from) };
            let mut chain = vec![first];
            for column in slots[first].column + 1..slots[last].column {
                chain.push(slots.len());
                slots.push(Slot { column, height: LANE, middle: 0.0 });
            }
            chain.push(last);
            chains.push(chain);
        }
        let count = slots.iter().map(|slot| slot.column).max().unwrap_or(0) + 1;
        let mut columns = vec![Vec::new(); count];
        slots.iter().enumerate().for_each(|(at, slot)| columns[slot.column].push(at));
        let (mut left, mut right) = (vec![Vec::new(); slots.len()], vec![Vec::new(); slots.len()]);
        for pair in chains.iter().flat_map(|chain| chain.windows(2)) {
            if slots[pair[0]].column < slots[pair[1]].column {
                right[pair[0]].push(pair[1]);
                left[pair[1]].push(pair[0]);
            }
        }
        Grid { slots, columns, chains, left, right }
    }

    /// Orders each column by the mean place of the neighbours, forth and back; keeps the order with fewest crossings.
    fn order(&mut self) {
        let mut best = (self.crossings(), self.columns.clone());
        for sweep in 0..SWEEPS {
            let forth = sweep % 2 == 0;
            let count = self.columns.len();
            for step in 1..count {
                let column = if forth { step } else { count - 1 - step };
                let beside = if forth { column - 1 } else { column + 1 };
                let place = places(&self.columns[beside], self.slots.len());
                let neighbours = if forth { &self.left } else { &self.right };
                let mut keyed: Vec<(f64, usize)> = Vec::new();
                for (own, slot) in self.columns[column].iter().enumerate() {
                    let near = &neighbours[*slot];
                    // Without neighbours, it stays where it is.
                    let key = match near.len() {
                        0 => own as f64 * self.columns[beside].len() as f64 / self.columns[column].len() as f64,
                        n => near.iter().map(|other| place[*other] as f64).sum::<f64>() / n as f64,
                    };
                    keyed.push((key, *slot));
                }
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.columns[column] = keyed.into_iter().map(|(_, slot)| slot).collect();
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.columns.clone());
            }
        }
        self.columns = best.1;
    }

    fn crossings(&self) -> usize {
        let mut count = 0;
        for pair in self.columns.windows(2) {
            let place = places(&pair[1], self.slots.len());
            let mut ends: Vec<usize> = Vec::new();
            for slot in &pair[0] {
                let mut next: Vec<usize> = self.right[*slot].iter().map(|other| place[*other]).collect();
                next.sort_unstable();
                count += next.iter().map(|end| ends.iter().filter(|before| *before > end).count()).sum::<usize>();
                ends.extend(next);
            }
        }
        count
    }

    /// Gives heights: as near to the middle of the neighbours as the order allows.
    fn level(&mut self) {
        for column in &self.columns {
            let mut y = 0.0;
            for (at, slot) in column.iter().enumerate() {
                let above =
                    at.checked_sub(1).map_or(0.0, |above| separation(&self.slots[column[above]], &self.slots[*slot]));
                y += above;
                self.slots[*slot].middle = y;
            }
        }
        for sweep in 0..SWEEPS {
            let count = self.columns.len();
            for step in 0..count {
                let column = if sweep % 2 == 0 { step } else { count - 1 - step };
                let wanted: Vec<(f64, f64)> = self.columns[column]
                    .iter()
                    .map(|slot| {
                        let near: Vec<f64> = self.left[*slot]
                            .iter()
                            .chain(&self.right[*slot])
                            .map(|other| self.slots[*other].middle)
                            .collect();
                        match near.len() {
                            0 => (self.slots[*slot].middle, 0.1),
                            n => (near.iter().sum::<f64>() / n as f64, n as f64),
                        }
                    })
                    .collect();
                let apart: Vec<f64> = self.columns[column]
                    .windows(2)
                    .map(|pair| separation(&self.slots[pair[0]], &self.slots[pair[1]]))
                    .collect();
                for (slot, middle) in self.columns[column].clone().into_iter().zip(nearest(&wanted, &apart)) {
                    self.slots[slot].middle = middle;
                }
            }
        }
        let top = self.slots.iter().map(|slot| slot.middle - slot.height / 2.0).fold(f64::INFINITY, f64::min);
        self.slots.iter_mut().for_each(|slot| slot.middle -= top);
    }

    /// The lines, each with its own place at the sides of boxes.
    fn ways(&self, edges: &[(usize, usize)], boxes: &[Rect], spans: &[(f64, f64)]) -> Vec<Way> {
        // What leaves or enters each side of each box: by where it goes.
        let mut sides: Vec<[Vec<(f64, usize)>; 2]> = vec![[Vec::new(), Vec::new()]; boxes.len()];
        for (edge, chain) in self.chains.iter().enumerate() {
            let (first, last) = (chain[0], chain[chain.len() - 1]);
            let within = self.slots[first].column == self.slots[last].column;
            sides[first][1].push((self.slots[chain[1]].middle, edge));
            sides[last][usize::from(within)].push((self.slots[chain[chain.len() - 2]].middle, edge));
        }
        let place = |sides: &[Vec<(f64, usize)>; 2], side: usize, rect: &Rect, edge: usize| {
            let mut all = sides[side].clone();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let at = all.iter().position(|(_, one)| *one == edge).unwrap_or(0);
            rect.y + rect.height * (at + 1) as f64 / (all.len() + 1) as f64
        };
        let way = |(edge, chain): (usize, &Vec<usize>)| {
            let (first, last) = (chain[0], chain[chain.len() - 1]);
            let start = (boxes[first].right(), place(&sides[first], 1, &boxes[first], edge));
            let mut way = vec![start];
            if self.slots[first].column == self.slots[last].column {
                let end = (boxes[last].right(), place(&sides[last], 1, &boxes[last], edge));
                way.push((start.0.max(end.0) + GAP / 3.0, (start.1 + end.1) / 2.0));
                way.push(end);
            } else {
                for slot in &chain[1..chain.len() - 1] {
                    let (left, right) = spans[self.slots[*slot].column];
                    way.push((left, self.slots[*slot].middle));
                    way.push((right, self.slots[*slot].middle));
                }
                way.push((boxes[last].x, place(&sides[last], 0, &boxes[last], edge)));
            }
            if edges[edge].0 != first {
                way.reverse();
            }
            way
        };
        self.chains.iter().enumerate().map(way).collect()
    }
}

fn places(column: &[usize], slots: usize) -> Vec<usize> {
    let mut place = vec![0; slots];
    column.iter().enumerate().for_each(|(at, slot)| place[*slot] = at);
    place
}

/// From the middle of one to the middle of the next.
fn separation(above: &Slot, below: &Slot) -> f64 {
    let lanes = above.height <= LANE && below.height <= LANE;
    (above.height + below.height) / 2.0 + if lanes { 2.0 } else { APART }
}

/// The places nearest to what is wanted, by least squares, that keep their order and distances: neighbours that would come
/// too close move as one (pool adjacent violators).
fn nearest(wanted: &[(f64, f64)], apart: &[f64]) -> Vec<f64> {
    let mut offset = 0.0;
    // Mean, weight, how many.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    let mut offsets = Vec::new();
    for (at, (middle, weight)) in wanted.iter().enumerate() {
        offset += at.checked_sub(1).map_or(0.0, |before| apart[before]);
        offsets.push(offset);
        pools.push((middle - offset, *weight, 1));
        while let [.., above, below] = pools[..]
            && above.0 > below.0
        {
            let weight = above.1 + below.1;
            pools.truncate(pools.len() - 2);
            pools.push(((above.0 * above.1 + below.0 * below.1) / weight, weight, above.2 + below.2));
        }
    }
    let base = pools.into_iter().flat_map(|(mean, _, count)| std::iter::repeat_n(mean, count));
    base.zip(offsets).map(|(base, offset)| base + offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(columns: &[usize]) -> Vec<Size> {
        columns
            .iter()
            .map(|column| Size { column: *column, width: 100.0, height: 30.0 + 7.0 * (*column as f64) })
            .collect()
    }

    /// Whether every line ends at its boxes and passes no other.
    fn check(sizes: &[Size], edges: &[(usize, usize)]) -> Placed {
        let placed = place(sizes, edges);
        for (at, one) in placed.boxes.iter().enumerate() {
            for other in &placed.boxes[at + 1..] {
                assert!(!one.overlaps(other), "{one:?} and {other:?}");
            }
            assert!(one.x >= 0.0 && one.y >= -0.001 && one.right() <= placed.width + 0.001);
            assert!(one.y + one.height <= placed.height + 0.001);
        }
        for ((from, to), way) in edges.iter().zip(&placed.ways) {
            for (end, at) in [(way[0], *from), (way[way.len() - 1], *to)] {
                let rect = placed.boxes[at];
                assert!(end.0 == rect.x || end.0 == rect.right(), "{end:?} is not at a side of {rect:?}");
                assert!(end.1 > rect.y && end.1 < rect.y + rect.height, "{end:?} is not at {rect:?}");
            }
            for (x, y) in &way[1..way.len() - 1] {
                let inside = |r: &Rect| *x > r.x && *x < r.right() && *y > r.y && *y < r.y + r.height;
                let touches = |r: &Rect| (*x == r.x || *x == r.right()) && *y > r.y && *y < r.y + r.height;
                assert!(!placed.boxes.iter().any(|r| inside(r) || touches(r)), "({x}, {y}) runs into a box");
            }
        }
        placed
    }

    #[test]
    fn nothing_overlaps_and_all_lines_end_at_boxes() {
        assert!(place(&[], &[]).boxes.is_empty());
        check(&sizes(&[0]), &[]);
        check(&sizes(&[0, 0, 1]), &[(0, 1), (1, 0), (2, 0), (0, 2)]);
        // Every box with every other, over five columns, by a fixed rule.
        let columns: Vec<usize> = (0..60).map(|at| (at * 7 + at / 3) % 5).collect();
        let all: Vec<(usize, usize)> = (0..60).flat_map(|a| (0..60).map(move |b| (a, b))).collect();
        let edges: Vec<_> = all.into_iter().filter(|(a, b)| a != b && (a * 31 + b * 17) % 23 == 0).collect();
        assert!(edges.len() > 100);
        check(&sizes(&columns), &edges);
    }

    #[test]
    fn lines_that_need_not_cross_do_not() {
        let sizes = sizes(&[0, 0, 0, 1, 1, 1]);
        let edges = [(0, 5), (1, 4), (2, 3)];
        let mut grid = Grid::new(&sizes, &edges);
        assert_eq!(grid.crossings(), 3);
        grid.order();
        assert_eq!(grid.crossings(), 0);
        let placed = check(&sizes, &edges);
        for (from, to) in edges {
            let middle = |at: usize| placed.boxes[at].y + placed.boxes[at].height / 2.0;
            assert!((middle(from) - middle(to)).abs() < 0.01, "lines are level where they can be");
        }
    }

    #[test]
    fn places_are_as_wanted_where_they_may_be_and_share_what_is_missing() {
        assert_eq!(nearest(&[(0.0, 1.0), (50.0, 1.0)], &[10.0]), [0.0, 50.0]);
        assert_eq!(nearest(&[(20.0, 1.0), (20.0, 1.0)], &[10.0]), [15.0, 25.0]);
        assert_eq!(nearest(&[(20.0, 3.0), (20.0, 1.0)], &[10.0]), [17.5, 27.5]);
    }
}
