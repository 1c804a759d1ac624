//! An HTTP/1.1 server whose requests run in a pool of processes, or of threads, one word apart.
//!
//! README.md beside it tells what runs where, what is limited, and what was measured.

#![deny(unsafe_code)]

mod body;
mod client;
mod config;
mod files;
mod front;
mod handlers;
mod master;
mod service;
mod upstream;

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    brigade::init();
    log_to_stderr();
    match config::load().and_then(master::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// For the program, and for each front that is a process: a worker has not run `main`.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // The second of two fronts that are threads finds it done.
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .try_init(),
    );
}
