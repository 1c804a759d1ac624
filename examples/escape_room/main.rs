//! Tries every way out of a sandbox that it knows, without and within, and prints what came of it:
//!
//! ```sh
//! cargo run --release --example escape_room
//! ```
//!
//! Without a sandbox most must succeed, or the attempt shows nothing. Within, none may. It ends
//! with 1 if one does.

mod escapes;
mod outside;

use std::collections::BTreeMap;
use std::process::ExitCode;

use brigade::sandbox::Effect;
use brigade::{Cause, JoinError, JoinHandle, Kind, Pool, Sandbox, process};

use crate::escapes::Escape;
use crate::outside::Around;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    brigade::init();
    let around = Around::new()?;
    let report = Sandbox::deny_all().report();
    println!("{report}\n");
    println!("What it took to shut a worker in:");
    for (step, time) in report.steps() {
        println!("  {step:<24} {:>6} us", time.as_micros());
    }

    let shut_in = process::Builder::new().sandbox(Sandbox::deny_all());
    let deadly = process::Builder::new().sandbox(Sandbox::deny_all().kill_on_violation());
    let pool = Pool::builder(Kind::Process)
        .workers(2)
        .process(shut_in.clone())
        .build()?;
    let plain = process::Builder::new();
    let mut escaped = 0;
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    for effect in Effect::ALL {
        println!("\n{effect}: {}", report.of(effect));
        println!(
            "  {:<48} {:<12} {:<12} {:<12} what ended it",
            "", "no sandbox", "fresh", "in a pool"
        );
        for escape in escapes::all().into_iter().filter(|e| e.effect == effect) {
            let input = || (escape.name.to_owned(), around.outside.clone());
            let fresh = |builder: &process::Builder| -> std::io::Result<Outcome> {
                Ok(outcome(builder.spawn(escapes::attempt, input())?))
            };
            let control = fresh(&plain)?;
            let within = [
                fresh(&shut_in)?,
                outcome(pool.submit(escapes::attempt, input())),
                fresh(&deadly)?,
            ];
            let succeeded = within.iter().filter(|o| o.escaped).count();
            escaped += succeeded;
            if succeeded == 0 {
                *refused.entry(verdict(&escape, &control)).or_default() += 1;
            }
            let [fresh, pooled, deadly] = within.map(|o| o.text);
            println!(
                "  {:<48} {:<12} {fresh:<12} {pooled:<12} {deadly}",
                escape.name, control.text
            );
        }
    }
    println!();
    for (verdict, count) in refused {
        println!("{count:>3} {verdict}");
    }
    println!("{escaped:>3} escapes succeeded in a sandbox");
    Ok(ExitCode::from(u8::from(escaped > 0)))
}

fn verdict(escape: &Escape, control: &Outcome) -> &'static str {
    if control.escaped {
        "succeed without a sandbox, and fail in one"
    } else if escape.succeeds_outside {
        "fail in both, though the first should succeed"
    } else {
        "fail in both, for lack of a privilege, or of what the kernel would need"
    }
}

struct Outcome {
    escaped: bool,
    text: String,
}

fn outcome(worker: JoinHandle<Result<(), String>>) -> Outcome {
    let (escaped, text) = match worker.join() {
        Ok(Ok(())) => (true, "succeeds".to_owned()),
        Ok(Err(why)) => (false, named(&why)),
        Err(JoinError::Crashed(crash)) => match crash.cause() {
            Cause::Sandbox(what) => (false, what.clone()),
            // It has become another program, and that has ended.
            Cause::Exit(0) => (true, "succeeds".to_owned()),
            cause => (false, cause.to_string()),
        },
        Err(other) => (false, other.to_string()),
    };
    Outcome { escaped, text }
}

/// An error by its name.
fn named(why: &str) -> String {
    const NAMES: [(i32, &str); 10] = [
        (libc::EACCES, "EACCES"),
        (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::EBADF, "EBADF"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENOENT, "ENOENT"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::EPERM, "EPERM"),
        (libc::EPROTONOSUPPORT, "EPROTONOSUP."),
    ];
    let number = why.strip_prefix("errno ").and_then(|n| n.parse().ok());
    let name = number.and_then(|n: i32| NAMES.iter().find(|(of, _)| *of == n));
    name.map_or_else(|| why.to_owned(), |(_, name)| (*name).to_owned())
}
