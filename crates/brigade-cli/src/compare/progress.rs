//! A bar on standard error while it measures: only if that is a terminal, and never from a thread
//! of its own, which would be in the way of what is measured.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far the measuring has come.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar of `rows` rows.
    pub(crate) fn new(rows: usize) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(rows as u64), target);
        // The template is ours and constant; should it ever be wrong, indicatif's own is good
        // enough.
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} {wide_msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// A row begins.
    pub(crate) fn begin(&self, title: &'static str) {
        self.bar.set_message(title);
        self.bar.tick();
    }

    /// A row is over.
    pub(crate) fn end(&self) {
        self.bar.inc(1);
    }

    /// The bar goes, before the table comes.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
