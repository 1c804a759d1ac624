//! A worker in a sandbox has nothing of the program's environment and arguments anywhere in its
//! memory.

use std::process::Command;
use std::sync::OnceLock;

use brigade::{Kind, Pool, Sandbox, process};
use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    crate::trials![the_programs_environment_is_nowhere_in_a_workers_memory]
}

const ASKED: &str = "--secrets";
const HIDDEN: u8 = 0x55;

/// If this is the program that has a secret, looks for it in its workers' memory, and ends.
pub(crate) fn if_asked() {
    let mut arguments = std::env::args().skip_while(|a| a != ASKED);
    let Some(by_argument) = arguments.nth(1) else {
        return;
    };
    let by_variable = std::env::var("BRIGADE_TEST_SECRET").expect("it is set");
    for secret in [by_argument, by_variable] {
        for (builder, name) in [
            (process::Builder::new(), "plain"),
            (
                process::Builder::new().sandbox(Sandbox::deny_all()),
                "sandbox",
            ),
        ] {
            let pool = Pool::builder(Kind::Process)
                .workers(1)
                .initializer(note_memory)
                .process(builder)
                .build()
                .expect("a pool");
            let hidden: Vec<u8> = secret.bytes().map(|byte| byte ^ HIDDEN).collect();
            let found = pool.submit(look_for, hidden).join().expect("it looks");
            println!("{name} {}", found > 0);
        }
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "this start of the program is at its end"
    )]
    std::process::exit(0);
}

/// What may be read, before the door is shut.
static MEMORY: OnceLock<Vec<(usize, usize)>> = OnceLock::new();

fn note_memory() {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("it is not shut yet");
    let ranges = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let special = ["[vvar", "[vsyscall"]
            .iter()
            .any(|name| rest.contains(name));
        if !rest.starts_with("rw") || special {
            return None;
        }
        let (from, to) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some((number(from)?, number(to)?))
    });
    let _ = MEMORY.set(ranges.collect());
}

/// How often the text is there, which comes hidden so that it is not there because of this task.
fn look_for(hidden: Vec<u8>) -> usize {
    let mut found = 0;
    for &(from, to) in MEMORY.get().expect("noted") {
        for at in from..to.saturating_sub(hidden.len()) {
            let is_it = hidden.iter().enumerate().all(|(i, byte)| {
                // SAFETY: the range was mapped to be read, and nothing of it is unmapped while one
                // thread looks. It may be written meanwhile, by this very loop: its bytes are read
                // as they are.
                let there = unsafe { ((at + i) as *const u8).read_volatile() };
                there ^ HIDDEN == *byte
            });
            found += usize::from(is_it);
        }
    }
    found
}

fn the_programs_environment_is_nowhere_in_a_workers_memory() {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([ASKED, "argument-74c1f0b2"])
        .env("BRIGADE_TEST_SECRET", "variable-1e9d5a07")
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        said,
        "plain true\nsandbox false\nplain true\nsandbox false\n"
    );
}
