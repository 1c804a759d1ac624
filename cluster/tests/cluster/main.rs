//! Tasks through a real server on loopback, to worker programs in processes of their own. Without a
//! server the tests are skipped, and say so.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod builds;
mod chaos;
mod clocks;
mod deaths;
mod jwt;
mod limits;
mod lost;
mod measure;
mod parity;
mod purging;
mod results;
mod roles;
mod server;
mod status;
mod tasks;
mod times;
mod worker;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    brigade::init();
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|word| word == "--worker") {
        return worker::main(&arguments[at + 1..]);
    }
    if let Some(at) = arguments.iter().position(|word| word == "--serve") {
        return worker::serve(&arguments[at + 1..]);
    }
    if let Some(at) = arguments.iter().position(|word| word == "--submitter") {
        return clocks::main(&arguments[at + 1..]);
    }
    if let Some(at) = arguments.iter().position(|word| word == "--chaos") {
        return chaos::main(&arguments[at + 1..]);
    }
    if let Some(at) = arguments.iter().position(|word| word == "--measure") {
        return measure::main(&arguments[at + 1..]);
    }
    let missing = server::program().as_ref().err();
    if let Some(why) = missing {
        eprintln!("SKIPPED: all tests that need a server: {why}");
    }
    let trial = |(name, test): (&'static str, fn())| {
        Trial::test(name, move || {
            test();
            Ok::<(), Failed>(())
        })
        .with_ignored_flag(missing.is_some() && name != results::LOCAL)
    };
    let all = [
        results::TESTS,
        deaths::TESTS,
        limits::TESTS,
        lost::TESTS,
        parity::TESTS,
        builds::TESTS,
        clocks::TESTS,
        status::TESTS,
        times::TESTS,
        roles::TESTS,
        jwt::TESTS,
        purging::TESTS,
        chaos::TESTS,
    ]
    .concat();
    let trials = all.into_iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// Runs a test's future.
fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(test);
}
