//! The functional diagram as a picture inside the page: boxes, lines, what is said of them, and a legend.

use crate::{
    clean,
    diagram::{
        By, Diagram, Edge, Kind, Node, Tone,
        layout::{GAP, Placed, Rect, Size, Way, place},
    },
    wrap::{clip, width, wrap},
};
use maud::{Markup, html};

/// Of boxes, in pixels.
const WIDTH: f64 = 178.0;
/// Columns of text that fit, by font size.
const TITLE: usize = 21;
const LINE: usize = 27;
/// Of their fonts, as the style sheet has them.
const TITLE_SIZE: f64 = 12.5;
const LINE_SIZE: f64 = 10.5;
/// Heights of lines.
const TITLE_HEIGHT: f64 = 15.0;
const LINE_HEIGHT: f64 = 13.5;
const MARK_HEIGHT: f64 = 16.0;
/// Above the boxes, for headings.
const TOP: f64 = 44.0;
/// Around everything.
const EDGE: f64 = 24.0;
const LEGEND: f64 = 40.0;
/// A character of a label.
const CHARACTER: f64 = 5.8;

/// The texts of a box as they fit in.
struct Texts {
    title: Vec<String>,
    lines: Vec<String>,
    marks: Vec<(Tone, String)>,
}

impl Texts {
    fn of(node: &Node) -> Texts {
        let marks = node.marks.iter().take(4).map(|(tone, text)| (*tone, clip(&clean(text), LINE - 3)));
        let mut marks: Vec<_> = marks.collect();
        if node.marks.len() > marks.len() {
            marks.push((Tone::Plain, format!("and {} more", node.marks.len() - marks.len())));
        }
        let lines = node.lines.iter().map(|line| clip(&clean(line), LINE)).collect();
        Texts { title: wrap(&clean(&node.title), TITLE, 2), lines, marks }
    }

    fn height(&self) -> f64 {
        16.0 + self.title.len() as f64 * TITLE_HEIGHT
            + self.lines.len() as f64 * LINE_HEIGHT
            + self.marks.len() as f64 * MARK_HEIGHT
    }
}

pub fn diagram(diagram: &Diagram) -> Markup {
    let texts: Vec<Texts> = diagram.nodes.iter().map(Texts::of).collect();
    let sizes: Vec<Size> = diagram
        .nodes
        .iter()
        .zip(&texts)
        .map(|(node, texts)| Size { column: node.rank, width: WIDTH, height: texts.height() })
        .collect();
    let ends: Vec<(usize, usize)> = diagram.edges.iter().map(|edge| (edge.from, edge.to)).collect();
    let placed = place(&sizes, &ends);
    let labels = labels(diagram, &placed);
    let longest = diagram.edges.iter().map(|edge| edge.waited).fold(0.0, f64::max);
    let (wide, tall) = (placed.width + 2.0 * EDGE, placed.height + TOP + LEGEND + EDGE);
    html! {
        figure.diagram {
            svg viewBox=(format!("0 0 {wide:.0} {tall:.0}")) role="img" style=(format!("max-width:{:.0}px", wide * 1.2)) {
                title { "What runs here, with whom it talks and on what it rests" }
                g transform=(format!("translate({EDGE} {TOP})")) {
                    (headings(diagram, &placed))
                    @for (edge, way) in diagram.edges.iter().zip(&placed.ways) { (line(diagram, edge, way, longest)) }
                    @for ((node, texts), rect) in diagram.nodes.iter().zip(&texts).zip(&placed.boxes) {
                        (self::node(node, texts, rect))
                    }
                    @for (edge, place) in diagram.edges.iter().zip(&labels) {
                        @if let Some((rect, text)) = place {
                            text class=(if edge.waited > 0.0 { "label waited" } else { "label" })
                                x=(number(rect.x + rect.width / 2.0)) y=(number(rect.y + 10.0)) { (text) }
                        }
                    }
                }
                (legend(diagram, tall - LEGEND + 14.0))
            }
        }
    }
}

fn number(value: f64) -> String {
    format!("{value:.1}")
}

/// A band behind the columns of each kind, with its name.
fn headings(diagram: &Diagram, placed: &Placed) -> Markup {
    let name = |kind: Kind| match kind {
        Kind::Client => "Clients",
        Kind::Service => "Services",
        Kind::Server | Kind::FileSystem => "File systems, servers",
        Kind::Volume => "Volumes",
        Kind::Device | Kind::Interface | Kind::Cpus | Kind::Memory => "Devices",
    };
    let mut bands: Vec<(&str, f64, f64, usize)> = Vec::new();
    for (node, rect) in diagram.nodes.iter().zip(&placed.boxes) {
        // An interface that lies on others stands with the volumes.
        let others = diagram.nodes.iter().filter(|other| other.rank == node.rank).map(|other| other.kind);
        let name = name(others.min().unwrap_or(node.kind));
        match bands.iter_mut().find(|band| band.0 == name) {
            Some(band) => (band.1, band.2) = (band.1.min(rect.x), band.2.max(rect.right())),
            None => bands.push((name, rect.x, rect.right(), node.rank)),
        }
    }
    html! {
        @for (name, left, right, _) in &bands {
            rect.band x=(number(left - 14.0)) y="-34" width=(number(right - left + 28.0)) height=(number(placed.height + 48.0)) rx="8" {}
            text.heading x=(number((left + right) / 2.0)) y="-16" { (name) }
        }
    }
}

fn style(kind: Kind) -> &'static str {
    match kind {
        Kind::Client | Kind::Server => "host",
        Kind::Service => "service",
        Kind::FileSystem => "store",
        Kind::Volume | Kind::Device | Kind::Interface => "device",
        Kind::Cpus | Kind::Memory => "core",
    }
}

fn tone(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Victim => "victim",
        Tone::Maybe => "maybe",
        Tone::Bad => "bad",
    }
}

fn node(node: &Node, texts: &Texts, rect: &Rect) -> Markup {
    let full: Vec<String> = [&node.title]
        .into_iter()
        .chain(&node.lines)
        .chain(node.marks.iter().map(|(_, text)| text))
        .map(|text| clean(text))
        .collect();
    let target = if node.is_target { " target" } else { "" };
    let (x, y) = (rect.x, rect.y);
    let below = y + 8.0 + texts.title.len() as f64 * TITLE_HEIGHT;
    let marks = below + texts.lines.len() as f64 * LINE_HEIGHT + 3.0;
    html! {
        g class={ "node " (style(node.kind)) " " (tone(node.tone())) (target) } {
            title { (full.join("\n")) }
            rect.frame x=(number(x)) y=(number(y)) width=(number(rect.width)) height=(number(rect.height)) rx="5" {}
            rect.stripe x=(number(x)) y=(number(y)) width="5" height=(number(rect.height)) rx="2.5" {}
            @for (at, line) in texts.title.iter().enumerate() {
                @let room = pressed(line, TITLE_SIZE);
                text.title x=(number(x + 12.0)) y=(number(y + 19.0 + at as f64 * TITLE_HEIGHT))
                    textLength=[&room] lengthAdjust=[room.as_ref().map(|_| "spacingAndGlyphs")] { (line) }
            }
            @for (at, line) in texts.lines.iter().enumerate() {
                @let room = pressed(line, LINE_SIZE);
                text.small x=(number(x + 12.0)) y=(number(below + 11.0 + at as f64 * LINE_HEIGHT))
                    textLength=[&room] lengthAdjust=[room.as_ref().map(|_| "spacingAndGlyphs")] { (line) }
            }
            @for (at, (tone, text)) in texts.marks.iter().enumerate() {
                @let top = marks + at as f64 * MARK_HEIGHT;
                rect class={ "tag " (self::tone(*tone)) } x=(number(x + 9.0)) y=(number(top)) width=(number(rect.width - 15.0))
                    height="14" rx="3" {}
                text class={ "said " (self::tone(*tone)) } x=(number(x + 13.0)) y=(number(top + 10.5)) { (text) }
            }
        }
    }
}

/// The width into which a text is pressed that would stand out of its box: its letters are wider than most.
fn pressed(text: &str, size: f64) -> Option<String> {
    // Of a sans-serif font in bold, in parts of its size.
    let of = |c: char| match c {
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.95,
        'i' | 'j' | 'l' | 'I' | 't' | 'f' | 'r' | '.' | ',' | ':' | '\'' | '|' | '-' | ' ' | '(' | ')' => 0.4,
        _ => 0.68 * width(c.encode_utf8(&mut [0; 4])) as f64,
    };
    let room = WIDTH - 12.0 - 5.0;
    (text.chars().map(of).sum::<f64>() * size > room).then(|| number(room))
}

fn by(by: By) -> &'static str {
    match by {
        By::Tcp => "tcp",
        By::Udp => "udp",
        By::Unix => "unix",
        By::Pipe => "pipe",
        By::File | By::Device => "file",
        By::On | By::Route => "on",
    }
}

/// A line with its head; the longer the wait, the thicker.
fn line(diagram: &Diagram, edge: &Edge, way: &Way, longest: f64) -> Markup {
    let (from, to) = (&diagram.nodes[edge.from].title, &diagram.nodes[edge.to].title);
    let about = format!("{} → {}: {}", clean(from), clean(to), clean(&edge.about));
    let (end, before) = (way[way.len() - 1], way[way.len() - 2]);
    let back = if end.0 > before.0 { -7.0 } else { 7.0 };
    let waited = if edge.waited > 0.0 && longest > 0.0 { 1.4 + 4.0 * edge.waited / longest } else { 0.0 };
    let class = if waited > 0.0 { " waited" } else { "" };
    html! {
        g class={ "edge " (by(edge.by)) (class) } {
            title { (about) }
            path.hit d=(curve(way)) {}
            path.way d=(curve(way)) style=[(waited > 0.0).then(|| format!("stroke-width:{waited:.1}"))] {}
            path.head d=(format!("M{:.1} {:.1}l{back} -3.6v7.2z", end.0, end.1)) {}
            @if edge.both {
                @let out = if way[1].0 > way[0].0 { 7 } else { -7 };
                path.head d=(format!("M{:.1} {:.1}l{out} -3.6v7.2z", way[0].0, way[0].1)) {}
            }
        }
    }
}

/// Level through every point; a line within one column is a bow.
fn curve(way: &Way) -> String {
    let mut path = format!("M{:.1} {:.1}", way[0].0, way[0].1);
    if let [start, bow, end] = way[..]
        && bow.0 > start.0
        && bow.0 > end.0
    {
        let out = start.0 + (bow.0 - start.0) / 0.75;
        path.push_str(&format!("C{out:.1} {:.1} {out:.1} {:.1} {:.1} {:.1}", start.1, end.1, end.0, end.1));
        return path;
    }
    for pair in way.windows(2) {
        let middle = (pair[0].0 + pair[1].0) / 2.0;
        path.push_str(&format!(
            "C{middle:.1} {:.1} {middle:.1} {:.1} {:.1} {:.1}",
            pair[0].1, pair[1].1, pair[1].0, pair[1].1
        ));
    }
    path
}

/// Where labels fit: on a bend of their line, over no box and no other label; those of waits first, the rest where there is
/// room. What is not there is told by the line when it is pointed at.
fn labels(diagram: &Diagram, placed: &Placed) -> Vec<Option<(Rect, String)>> {
    let mut found: Vec<Option<(Rect, String)>> = vec![None; diagram.edges.len()];
    let mut taken: Vec<Rect> = placed.boxes.clone();
    let mut order: Vec<usize> = (0..diagram.edges.len()).filter(|at| !diagram.edges[*at].label.is_empty()).collect();
    order.sort_by(|a, b| diagram.edges[*b].waited.total_cmp(&diagram.edges[*a].waited));
    for at in order {
        let text = clip(&clean(&diagram.edges[at].label), (GAP / CHARACTER) as usize);
        let wide = width(&text) as f64 * CHARACTER;
        let bends = placed.ways[at].windows(2).filter(|pair| (pair[1].0 - pair[0].0).abs() <= GAP + 1.0);
        let spots = bends.flat_map(|pair| {
            [0.5, 0.35, 0.65].map(|t| {
                // A cubic whose inner points lie half way across.
                let bent = t * t * (3.0 - 2.0 * t);
                (
                    pair[0].0 + (pair[1].0 - pair[0].0) * (1.5 * t - 1.5 * t * t + t * t * t),
                    pair[0].1 + (pair[1].1 - pair[0].1) * bent,
                )
            })
        });
        let rects = spots.map(|(x, y)| Rect { x: x - wide / 2.0, y: y - 6.5, width: wide, height: 13.0 });
        if let Some(rect) = { rects }.find(|rect| !taken.iter().any(|other| rect.overlaps(other))) {
            taken.push(rect);
            found[at] = Some((rect, text));
        }
    }
    found
}

fn legend(diagram: &Diagram, y: f64) -> Markup {
    let lines = [
        (By::Tcp, "TCP, from who connects"),
        (By::Udp, "UDP"),
        (By::Unix, "unix socket"),
        (By::Pipe, "pipe"),
        (By::File, "open files"),
        (By::On, "lies on, leaves by"),
    ];
    let mut items: Vec<(&str, &str, &str)> = lines
        .into_iter()
        .filter(|(kind, _)| diagram.edges.iter().any(|edge| by(edge.by) == by(*kind)))
        .map(|(kind, name)| ("edge", by(kind), name))
        .collect();
    if diagram.edges.iter().any(|edge| edge.waited > 0.0) {
        items.push(("edge", "waited", "waited for, the longer the thicker"));
    }
    let tones = [(Tone::Bad, "causes a finding, or bad"), (Tone::Maybe, "maybe"), (Tone::Victim, "loses time")];
    let said = |tone: Tone| diagram.nodes.iter().any(|node| node.marks.iter().any(|(one, _)| *one == tone));
    items.extend(tones.into_iter().filter(|(tone, _)| said(*tone)).map(|(tone, name)| ("tag", self::tone(tone), name)));
    if diagram.nodes.iter().any(|node| node.is_target) {
        items.push(("node", "target", "what was asked about"));
    }
    let places = items.iter().scan(EDGE - 14.0, |x, (_, _, name)| {
        let at = *x;
        *x += 48.0 + name.len() as f64 * CHARACTER;
        Some(at)
    });
    let places: Vec<f64> = places.collect();
    html! {
        @for ((kind, class, name), x) in items.iter().zip(places) {
            g class={ (kind) " " (class) } {
                @if *kind == "edge" {
                    path.way d=(format!("M{x:.1} {y:.1}h24")) {}
                    path.head d=(format!("M{:.1} {y:.1}l-7 -3.6v7.2z", x + 26.0)) {}
                } @else {
                    rect class={ "frame tag " (class) } x=(number(x + 2.0)) y=(number(y - 6.0)) width="24" height="12" rx="3" {}
                }
            }
            text.key x=(number(x + 32.0)) y=(number(y + 3.5)) { (name) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_are_pressed_into_their_box_and_others_left_alone() {
        assert_eq!(pressed("redis-server (1057)", TITLE_SIZE), None);
        assert_eq!(pressed("postgres: checkpointer", LINE_SIZE), None);
        assert_eq!(pressed("mmwmmwmmwmmwmmwmmwmmw", TITLE_SIZE), Some("161.0".to_owned()));
    }
}
