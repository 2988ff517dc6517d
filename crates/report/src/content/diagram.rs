//! The functional diagram, and what is missing from it.

use super::absent;
use crate::{
    blocks::{Block, Section},
    diagram,
};
use case::Document;
use observe::Recording;

/// What runs here, with whom it talks and on what it rests.
pub fn diagram<'a>(recording: &Recording, document: Option<&Document>) -> Section<'a> {
    let blocks = match diagram::diagram(recording, document) {
        Err(why) => vec![absent("No functional diagram", &why)],
        Ok(drawn) => {
            let not_drawn = drawn.left_out.iter().map(|what| Block::Note(format!("Not drawn: {what}")));
            let not_seen = drawn.unseen.iter().map(|what| Block::Note(format!("Not seen: {what}")));
            let notes: Vec<Block> = not_drawn.chain(not_seen).collect();
            [Block::Diagram(drawn)].into_iter().chain(notes).collect()
        }
    };
    Section::new("diagram", "Functional diagram", blocks)
}
