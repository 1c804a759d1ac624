//! How far it is: a bar on a terminal, and lines elsewhere.

use std::cell::Cell;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::job::Job;

/// What is told while a film is made, on stderr.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    chunks: u32,
    /// Chunks that were there already.
    before: u32,
    /// Chunks that this run has stored.
    stored: Cell<u32>,
}

impl Progress {
    /// Of a film of which so many frames, in so many chunks, are there already.
    pub(crate) fn new(job: &Job, frames: u32, chunks: u32) -> Progress {
        let target = ProgressDrawTarget::stderr();
        let bar = ProgressBar::with_draw_target(Some(u64::from(job.frames)), target);
        let template = "{bar:32} {pos}/{len} frames, {msg}, {elapsed} since, {eta} to come";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let progress = Progress {
            bar,
            chunks: job.chunks(),
            before: chunks,
            stored: Cell::new(0),
        };
        if chunks > 0 {
            let all = progress.chunks;
            progress.note(&format!("{chunks} of {all} chunks are there already"));
        }
        progress.bar.set_position(u64::from(frames));
        // What was there before says nothing about the speed.
        progress.bar.reset_eta();
        progress.tell();
        progress
    }

    fn tell(&self) {
        let (stored, chunks) = (self.before + self.stored.get(), self.chunks);
        self.bar.set_message(format!("{stored}/{chunks} chunks"));
    }

    /// A frame is drawn, or given up.
    pub(crate) fn drawn(&self) {
        self.bar.inc(1);
    }

    /// A chunk is on the disk.
    pub(crate) fn stored(&self, chunk: u32) {
        self.stored.set(self.stored.get() + 1);
        self.tell();
        if self.bar.is_hidden() {
            let (stored, chunks) = (self.before + self.stored.get(), self.chunks);
            eprintln!("chunk {chunk} is stored: {stored} of {chunks}");
        }
    }

    /// How many chunks this run has stored.
    pub(crate) fn stored_now(&self) -> u32 {
        self.stored.get()
    }

    /// Says something above the bar.
    pub(crate) fn note(&self, text: &str) {
        match self.bar.is_hidden() {
            true => eprintln!("{text}"),
            false => self.bar.println(text),
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
