//! Brigade's reliability goals, as commands: `cargo run --release -p chaos -- r3 --count 10000`.
//!
//! Each command does what a row of the goals says, so often, and prints what it saw beside what it
//! should see.
//!
//! - [`r1`], [`r2`], [`r3`], [`r4`], [`r5`], [`r7`], [`r8`], [`r12`]: the goals, a file each;
//!   [`host`] is the program that `r4` kills
//! - [`exhaustion`]: workers that take all they may have
//! - [`census`]: what the kernel says is there; [`leftovers`]: before, and afterwards;
//!   [`rollcall`]: processes, watched until they are gone; [`fork_server`]: which process that is
//! - [`measure`]: times, and accidental numbers; [`table`]: what is printed
//! - [`walls`]: limits and a sandbox for the workers of a goal

mod census;
mod exhaustion;
mod fork_server;
mod host;
mod leftovers;
mod measure;
mod r1;
mod r12;
mod r2;
mod r3;
mod r4;
mod r5;
mod r7;
mod r8;
mod rollcall;
mod table;
mod walls;

use std::io;
use std::process::ExitCode;

use brigade_test_support::wait;
use clap::{Parser, Subcommand};

/// The goal was met.
const MET: u8 = 0;
/// It was missed.
const MISSED: u8 = 1;
// 2: the command line makes no sense; clap ends with it.
/// Nothing can be said: something that the command itself needs failed.
const FAILED: u8 = 3;

const HELP: &str = "\
Exit codes:
  0  the goal was met
  1  the goal was missed
  2  the command line makes no sense
  3  it could not be tried: something that the command itself needs failed";

/// Brigade's reliability goals, as commands.
#[derive(Debug, Parser)]
#[command(after_help = HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kill a pool's workers while a million tasks run: each task ends once.
    R1(r1::Options),
    /// Whatever goes wrong with a pool's task, wherever: the right cause, soon, and the next one
    /// succeeds.
    R2(r2::Options),
    /// Spawn processes and end them in every way: nothing is left of them.
    R3(r3::Options),
    /// Kill the program: its workers and their children are gone, and soon.
    R4(r4::Options),
    /// Kill whoever holds a lock: those who wait are told, and soon.
    R5(r5::Options),
    /// Fourteen causes of death: each is named right.
    R7(r7::Options),
    /// Time out what spins, is deaf, and has children: it is gone, and soon.
    R8(r8::Options),
    /// Stop the program, its fork server and its workers: nobody waits for ever, and no task is
    /// over a time that it had not had.
    R12(r12::Options),
    /// Workers take all the memory, and all the processes, that they may have: the program goes on
    /// answering.
    Exhaustion(exhaustion::Options),
    /// The program that `r12` stops.
    #[command(hide = true)]
    Stopped,
    /// The program that `r4` kills.
    #[command(hide = true)]
    Host(host::Options),
    /// Waits for ever: a worker's child.
    #[command(hide = true)]
    Idle,
    /// Counts the names of message queues, in a mount namespace of its own.
    #[command(hide = true)]
    Queues,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Met,
    Missed,
}

impl Verdict {
    /// Prints it: the last line of each command.
    fn print(met: bool) -> Verdict {
        println!("  {}", if met { "goal met" } else { "goal MISSED" });
        if met { Verdict::Met } else { Verdict::Missed }
    }
}

fn main() -> ExitCode {
    brigade::init();
    let outcome: io::Result<Verdict> = match Arguments::parse().command {
        Command::R1(options) => r1::run(&options),
        Command::R2(options) => r2::run(&options),
        Command::R3(options) => r3::run(&options),
        Command::R4(options) => r4::run(&options),
        Command::R5(options) => r5::run(&options),
        Command::R7(options) => r7::run(&options),
        Command::R8(options) => r8::run(&options),
        Command::R12(options) => r12::run(&options),
        Command::Exhaustion(options) => exhaustion::run(&options),
        Command::Stopped => r12::stopped(),
        Command::Host(options) => host::run(&options).map(|never| match never {}),
        Command::Idle => wait::for_ever(),
        Command::Queues => census::print_queues().map(|()| Verdict::Met),
    };
    match outcome {
        Ok(Verdict::Met) => MET.into(),
        Ok(Verdict::Missed) => MISSED.into(),
        Err(why) => {
            eprintln!("chaos: {why}");
            FAILED.into()
        }
    }
}
