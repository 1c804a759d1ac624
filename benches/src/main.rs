//! Brigade beside the operating system's floor and its peers, in one run.
//!
//! - [`rows`]: what is measured, a file a row of the goals
//! - [`peers`]: what it is measured beside; [`helper`]: the small programs that some of them are
//! - [`traffic`]: what passes through channels; [`pooled`]: what pools are given; [`work`]: what
//!   tasks do
//! - [`rounds`]: taking turns; [`stats`]: what to make of the figures; [`report`]: how they are
//!   told
//! - [`footprint`], [`crew`]: seeing what processes cost, and what the workers do

mod crew;
mod footprint;
mod helper;
mod peers;
mod pooled;
mod report;
mod rounds;
mod rows;
mod stats;
mod traffic;
mod work;

use std::process::ExitCode;

use clap::Parser;

use crate::report::Row;
use crate::rows::Name;

/// Every goal was met.
const MET: u8 = 0;
/// One was missed.
const MISSED: u8 = 1;
// 2: the command line makes no sense; clap ends with it.
/// Something could not be measured.
const FAILED: u8 = 3;

/// Brigade beside the operating system's floor and its peers, in one run.
#[derive(Debug, Parser)]
#[command(after_help = "\
Exit codes:
  0  every goal was met
  1  one was missed
  2  the command line makes no sense
  3  something could not be measured")]
struct Arguments {
    /// The rows to measure; all, if none is named.
    #[arg(value_enum)]
    rows: Vec<Name>,
    /// Fewer rounds.
    #[arg(long)]
    quick: bool,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    brigade::init();
    // Before the peers are set up: these are to be small.
    if let Some(code) = helper::play() {
        return code;
    }
    procspawn::init();
    let mut arguments = Arguments::parse();
    if arguments.rows.is_empty() {
        arguments.rows = Name::ALL.to_vec();
    }
    let mut all: Vec<Row> = Vec::new();
    for name in arguments.rows {
        match name.measure(arguments.quick) {
            Ok(rows) => {
                if !arguments.json {
                    rows.iter().for_each(Row::print);
                }
                all.extend(rows);
            }
            Err(why) => {
                eprintln!("benches: {name:?} could not be measured: {why}");
                return FAILED.into();
            }
        }
    }
    let met = all.iter().all(Row::is_met);
    if arguments.json {
        match serde_json::to_string_pretty(&all) {
            Ok(text) => println!("{text}"),
            Err(why) => {
                eprintln!("benches: {why}");
                return FAILED.into();
            }
        }
    } else {
        println!(
            "{}",
            if met {
                "all goals met"
            } else {
                "a goal was MISSED"
            }
        );
    }
    if met { MET.into() } else { MISSED.into() }
}
