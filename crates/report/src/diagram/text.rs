//! The functional diagram in lines of text: every box, then what it is joined with.

use super::{Diagram, Kind};

/// One line.
pub struct Line {
    /// Of a box, rather than of what it is joined with.
    pub is_box: bool,
    pub text: String,
}

/// From left to right; boxes that neither ask nor have anything said of them are where others lead to.
pub fn lines(diagram: &Diagram) -> Vec<Line> {
    let mut order: Vec<usize> = (0..diagram.nodes.len()).collect();
    order.sort_by_key(|at| (diagram.nodes[*at].rank, !diagram.nodes[*at].is_target));
    let mut lines = Vec::new();
    for at in order {
        let node = &diagram.nodes[at];
        let parts: Vec<&str> =
            node.lines.iter().map(String::as_str).chain(node.marks.iter().map(|(_, text)| text.as_str())).collect();
        let joined: Vec<_> = diagram.edges.iter().filter(|edge| edge.from == at).collect();
        let kind = match node.kind {
            Kind::Client => "client ",
            Kind::Server => "server ",
            Kind::Service if node.is_target => "* ",
            Kind::Service | Kind::Cpus | Kind::Memory => "",
            Kind::FileSystem => "file system ",
            Kind::Volume => "volume ",
            Kind::Device => "device ",
            Kind::Interface => "interface ",
        };
        let about = if parts.is_empty() { String::new() } else { format!(": {}", parts.join("; ")) };
        lines.push(Line { is_box: true, text: format!("{kind}{}{about}", node.title) });
        for edge in joined {
            lines.push(Line {
                is_box: false,
                text: format!("{} {}: {}", if edge.both { "↔" } else { "→" }, diagram.nodes[edge.to].title, edge.about),
            });
        }
    }
    lines
}
