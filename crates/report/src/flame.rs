//! Folded stacks as an interactive flame graph.

use crate::{
    blocks::Flame,
    folded::{FoldedKind, stacks},
};
use inferno::flamegraph::{
    self, Options, TextTruncateDirection,
    color::{BackgroundColor, BasicPalette, Color, MultiPalette, Palette},
};
use observe::Recording;
use std::collections::{BTreeMap, BTreeSet};

/// Frames narrower than this part of the graph are left out, in percent.
const NARROWEST: f64 = 0.05;

/// The flame graph of a recording; `None` when there are no stacks of that kind.
pub fn flame(recording: &Recording, kind: FoldedKind) -> Option<Flame> {
    let stacks = stacks(recording, kind);
    // The sum of all values must fit, however damaged the recording.
    let most = u64::MAX / (stacks.len() as u64 + 1);
    let lines: Vec<String> = stacks.iter().map(|(stack, value)| format!("{stack} {}", value.min(&most))).collect();
    let (title, about, palette, unit) = match kind {
        FoldedKind::Cpu => (
            "CPU",
            "Width is CPU time, sampled. Orange is the kernel, yellow C++ or Rust, red everything else.",
            Palette::Multi(MultiPalette::Perl),
            "samples",
        ),
        FoldedKind::Interpreted => (
            "Python",
            "Width is time with the interpreter's lock held, or in a library's code, looked at 50 times a second.",
            Palette::Basic(BasicPalette::Green),
            "looks",
        ),
        FoldedKind::OffCpu => (
            "Off-CPU",
            "Width is time not running: blocked or waiting for a CPU. Idle waits are left out.",
            Palette::Basic(BasicPalette::Blue),
            "µs",
        ),
        FoldedKind::OffCpuWaker => (
            "Off-CPU with wakers",
            "Width is blocked time. Above “--” stands who ended the wait: the waker's stack upside down, its process on top.",
            Palette::Basic(BasicPalette::Aqua),
            "µs",
        ),
    };
    let (svg, height) = draw(&lines, unit, palette)?;
    let of = if recording.target.is_named() { "Only the target's processes." } else { "All processes." };
    Some(Flame { title, about: format!("{about} {of}"), svg, height })
}

/// The flame graph of the difference between two recordings: as wide as the second, red where it has more than the first and
/// blue where it has less, both taken as wholes of the same size. `None` when one of them has no such stacks.
pub fn difference(before: &Recording, after: &Recording, kind: FoldedKind) -> Option<Flame> {
    let (then, now) = (stacks(before, kind), stacks(after, kind));
    let sum = |all: &BTreeMap<String, u64>| all.values().map(|value| *value as f64).sum::<f64>();
    let scale = sum(&now) / sum(&then);
    if now.is_empty() || !scale.is_finite() {
        return None;
    }
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let lines: Vec<String> = names
        .into_iter()
        .map(|stack| {
            let was = then.get(stack).map_or(0.0, |value| *value as f64 * scale);
            format!("{stack} {:.0} {}", was, now.get(stack).copied().unwrap_or(0))
        })
        .collect();
    let (title, unit) = match kind {
        FoldedKind::Cpu => ("CPU", "samples"),
        FoldedKind::Interpreted => ("Python", "looks"),
        FoldedKind::OffCpu => ("Off-CPU", "µs"),
        FoldedKind::OffCpuWaker => ("Off-CPU with wakers", "µs"),
    };
    let (svg, height) = draw(&lines, unit, Palette::Basic(BasicPalette::Red))?;
    let about = "Width is the second case. Red frames have a larger part of it than of the first, blue ones a smaller.";
    Some(Flame { title, about: about.to_owned(), svg, height })
}

/// Folded lines, sorted, as a picture and its height.
fn draw(lines: &[String], unit: &str, palette: Palette) -> Option<(String, u32)> {
    if lines.is_empty() {
        return None;
    }
    let mut options = Options::default();
    options.title = String::new();
    options.colors = palette;
    options.bgcolors = Some(BackgroundColor::Flat(Color { r: 255, g: 255, b: 255 }));
    options.count_name = unit.to_owned();
    options.name_type = String::new();
    options.min_width = NARROWEST;
    options.font_type = "monospace".to_owned();
    options.font_size = 11;
    options.frame_height = 17;
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.deterministic = true;
    // Sorted by stack already; inferno would sort whole lines, and then find them unsorted.
    options.no_sort = true;
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg).ok()?;
    let svg = String::from_utf8(svg).ok()?;
    let svg = svg.find("<svg").map_or("", |at| &svg[at..]).to_owned();
    let height = svg.split_once(" height=\"").and_then(|(_, rest)| rest.split('"').next()?.parse().ok())?;
    Some((svg, height))
}
