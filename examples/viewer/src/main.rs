//! Renders SVG documents that nobody trusts: each in a process of its own, which has the document's
//! bytes, and reaches nothing else.
//!
//! README.md beside it tells what a document can do, and what that costs.

#![deny(unsafe_code)]

mod folder;
mod picture;
mod render;
mod serve;
mod tab;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use brigade::Kind;
use clap::Parser;

use crate::tab::Viewer;

/// Renders each SVG document of a directory in a process that reaches nothing
#[derive(Debug, Parser)]
#[command(name = "viewer")]
struct Options {
    /// The directory with the documents (`.svg`, `.svgz`)
    documents: PathBuf,
    /// Where the pictures go, as `.png`; it is made if it is missing
    #[arg(long, default_value = "pictures")]
    out: PathBuf,
    /// Instead of writing pictures, shows the tabs at this address, as they come
    #[arg(long)]
    serve: Option<SocketAddr>,
    /// Prints the verdicts as JSON
    #[arg(long)]
    json: bool,
    /// What renders: `process`, or `thread`, which shows what the process is for
    #[arg(long, default_value = "process")]
    kind: Kind,
    /// How many documents are rendered at once
    #[arg(long)]
    workers: Option<usize>,
    /// Pixels of a picture's longer side, at most
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=8192))]
    size: u32,
    /// Milliseconds that a document may take
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// MiB of memory that a document may take
    #[arg(long, default_value_t = 256)]
    memory: u64,
}

fn main() -> ExitCode {
    brigade::init();
    let options = Options::parse();
    let viewer = Viewer {
        kind: options.kind,
        workers: options.workers,
        size: options.size,
        timeout: Duration::from_millis(options.timeout),
        memory: options.memory << 20,
    };
    let done = match options.serve {
        Some(address) => serve::serve(&viewer, &options.documents, address).map(|()| true),
        None => folder::convert(&viewer, &options.documents, &options.out, options.json),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // Some document has no picture.
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("viewer: {why}");
            ExitCode::from(2)
        }
    }
}
