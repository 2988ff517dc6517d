//! Progress on stderr: a line that moves on a terminal, a line now and then elsewhere.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

/// Says on stderr what is going on.
pub struct Progress {
    terminal: bool,
    window: Duration,
    drawn: bool,
}

impl Progress {
    /// For a window of this length.
    pub fn new(window: Duration) -> Self {
        Progress { terminal: std::io::stderr().is_terminal(), window, drawn: false }
    }

    /// A line that stays.
    pub fn say(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(std::io::stderr(), "friday: {}", report::clean(text));
    }

    /// The window is longer now.
    pub fn extend(&mut self, window: Duration) {
        self.window = window;
        self.say(&format!("the window is {:.0} s now", window.as_secs_f64()));
    }

    /// How far the window is.
    pub fn at(&mut self, elapsed: Duration) {
        if self.terminal {
            let part = (elapsed.as_secs_f64() / self.window.as_secs_f64()).min(1.0);
            let filled = (part * 30.0) as usize;
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[Kfriday: watching {}{} {:.0} of {:.0} s (Ctrl-C ends it early, with a result)",
                "━".repeat(filled),
                "·".repeat(30 - filled),
                elapsed.as_secs_f64(),
                self.window.as_secs_f64()
            );
            let _ = std::io::stderr().flush();
            self.drawn = true;
        }
    }

    /// Takes the moving line away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
