//! What the workers of a goal are made with: as they come, or with limits and in a sandbox.

use std::time::Duration;

use brigade::{Sandbox, process};

#[derive(Debug, clap::Args)]
pub(crate) struct Walls {
    /// The workers that are processes have their memory, time, files and processes limited, and
    /// reach nothing outside.
    #[arg(long)]
    walls: bool,
}

impl Walls {
    /// The limits are beyond what any task needs: they are there to be in the way.
    pub(crate) fn builder(&self) -> process::Builder {
        let builder = process::Builder::new();
        if !self.walls {
            return builder;
        }
        builder
            .memory_limit(1 << 30)
            .processes_limit(32)
            .open_files_limit(256)
            .cpu_limit(Duration::from_secs(600))
            .sandbox(Sandbox::deny_all())
    }

    /// For the first line of what is printed.
    pub(crate) fn name(&self) -> &'static str {
        if self.walls {
            ", with limits and in a sandbox"
        } else {
            ""
        }
    }
}
