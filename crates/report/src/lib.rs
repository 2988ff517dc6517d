//! A case as terminal text, HTML page or Markdown: content is made into blocks once, and each renderer stays small.

mod blocks;
mod clean;
mod content;
mod diagram;
mod flame;
mod folded;
mod format;
mod html;
mod markdown;
mod perfetto;
mod terminal;
mod wrap;

pub use clean::clean;
pub use folded::{FoldedKind, folded};
pub use html::{compared_html, html};
pub use markdown::markdown;
pub use perfetto::perfetto;
pub use terminal::{Style, board, compared, monday, path, prepare, terminal};
