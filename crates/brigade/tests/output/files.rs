//! Files that workers write to, and nowhere.

use std::path::PathBuf;

use brigade::process::{Builder, Output};
use brigade::{JoinError, Kind, Pool};

use crate::{ROLE, again, die_in_a_line, write_numbers};

/// A path of this test's own, which is removed with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let name = format!("brigade-output-{name}-{}", std::process::id());
        Place(std::env::temp_dir().join(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_file_gets_the_lines_of_all_workers_whole() {
    brigade::init();
    let place = Place::new("whole");
    std::fs::write(&place.0, "before\n").expect("written");
    let output = Output::file(&place.0).expect("a file");
    let builder = Builder::new().stdout(output.clone()).stderr(output);
    let pool = Pool::builder(Kind::Process).workers(3).process(builder);
    let pool = pool.build().expect("a pool");
    let written: u32 = pool.map(write_numbers, vec![1_000; 6]).flatten().sum();
    drop(pool);
    assert_eq!(written, 6_000);
    let text = std::fs::read_to_string(&place.0).expect("a file");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("before"));
    let mut numbers: Vec<u32> = lines
        .map(|line| line.strip_prefix("line ").expect("a whole line"))
        .map(|number| number.parse().expect("a whole line"))
        .collect();
    numbers.sort();
    let expected: Vec<u32> = (0..6_000).map(|n| n / 6).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn a_crash_has_its_stderr_wherever_that_goes() {
    brigade::init();
    let place = Place::new("crash");
    let file = Output::file(&place.0).expect("a file");
    let (gone, lines) = Output::lines().expect("lines");
    drop(lines);
    let outputs = [Output::inherit(), Output::null(), file, gone];
    for output in outputs {
        let builder = Builder::new().stderr(output).stdout(Output::null());
        let pool = Pool::builder(Kind::Process)
            .workers(1)
            .process(builder.clone())
            .build()
            .expect("a pool");
        for in_pool in [false, true] {
            let result = if in_pool {
                pool.submit(die_in_a_line, ()).join()
            } else {
                builder.spawn(die_in_a_line, ()).expect("a worker").join()
            };
            let Err(JoinError::Crashed(crash)) = result else {
                panic!("{result:?}");
            };
            assert_eq!(crash.stderr(), "whole\nto stderr");
        }
    }
    let written = std::fs::read_to_string(&place.0).expect("a file");
    assert_eq!(written, "whole\nto stderr".repeat(2));
}

#[test]
fn a_disk_that_is_full_is_told_and_holds_nobody_up() {
    brigade::init();
    if std::env::var_os(ROLE).is_some() {
        let full = Output::file("/dev/full").expect("a file");
        let pool = Pool::builder(Kind::Process)
            .workers(1)
            .process(Builder::new().stdout(full))
            .build()
            .expect("a pool");
        let written: u32 = pool.map(write_numbers, vec![100; 2]).flatten().sum();
        assert_eq!(written, 200);
        return;
    }
    let test = "files::a_disk_that_is_full_is_told_and_holds_nobody_up";
    let ran = again(test).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{stderr}");
    let told = "brigade: what workers write to stdout cannot be written to /dev/full, and is lost";
    assert_eq!(stderr.matches(told).count(), 1, "{stderr}");
    assert!(stderr.contains("No space left on device"), "{stderr}");
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let error = Output::file("/nowhere/at all").expect_err("no such directory");
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains("/nowhere/at all"), "{error}");
}

#[cfg(feature = "sandbox")]
#[test]
fn a_worker_in_a_sandbox_has_outputs_too() {
    use brigade::Sandbox;
    brigade::init();
    let (output, lines) = Output::lines().expect("lines");
    let builder = Builder::new()
        .sandbox(Sandbox::deny_all())
        .stdout(output)
        .stderr(Output::null());
    let worker = match builder.spawn(write_numbers, 2) {
        Ok(worker) => worker,
        Err(e) => panic!("{e}"),
    };
    drop(builder);
    assert_eq!(worker.join().expect("it returns"), 2);
    let lines: Vec<_> = lines.collect();
    assert_eq!(crate::texts(&lines), ["line 0", "line 1"]);
    assert_eq!(lines[0].task(), Some("output::write_numbers"));
}
