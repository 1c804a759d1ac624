//! What tasks print, and hosts without their standard streams.

use brigade::process;

use super::Host;

pub(crate) const HOSTS: &[(&str, Host)] = &[
    ("prints", prints),
    ("quits-at-once", quits_at_once),
    ("quits-after-much", quits_after_much),
    ("closed-streams", closed_streams),
];

fn prints(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    process::spawn(
        |()| {
            print!("out without a newline");
            eprint!("err without a newline");
            // SAFETY: prints a constant string with C's own buffering.
            unsafe { libc::printf(c" and from C".as_ptr()) };
        },
        (),
    )?
    .join()?;
    Ok(())
}

/// Ends while its worker writes: what was written before the join is not lost.
fn quits_at_once(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    process::spawn(
        |()| {
            for n in 0..1000 {
                eprintln!("line {n}");
            }
        },
        (),
    )?
    .join()?;
    Ok(())
}

/// Ends while more has been written than two pipes hold.
fn quits_after_much(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    process::spawn(
        |()| {
            for n in 0..3000 {
                eprintln!("line {n} {}", "x".repeat(50));
            }
        },
        (),
    )?
    .join()?;
    Ok(())
}

/// Closes its standard streams before the first process; what its tasks print goes nowhere, and
/// into nothing.
fn closed_streams(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    // SAFETY: nobody owns these numbers; what std writes to them later is an error that it ignores.
    unsafe {
        libc::close(0);
        libc::close(1);
    }
    for _ in 0..8 {
        let handle = process::spawn(
            |n: u32| {
                println!("into nothing");
                n
            },
            7,
        )?;
        match handle.join() {
            Ok(7) => {}
            other => return Err(format!("{other:?}").into()),
        }
    }
    Ok(())
}
