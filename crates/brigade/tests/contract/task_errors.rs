//! `TaskError`: errors that serde does not know, from either kind.

use std::error::Error;
use std::fmt;
use std::num::ParseIntError;
use std::rc::Rc;

use brigade::{Kind, Pool, TaskError};

use crate::{both, each_way};

/// An error with a source, that serde cannot carry and that may not leave its thread.
#[derive(Debug)]
struct Unreadable(Rc<ParseIntError>);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the order is unreadable")
    }
}

impl Error for Unreadable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

fn order(text: String) -> Result<u32, TaskError> {
    Ok(text.parse().map_err(|e| Unreadable(Rc::new(e)))?) // the place of the `?`
}

/// Whose source is an error like it, without end.
#[derive(Debug)]
struct Endless;

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("once more")
    }
}

impl Error for Endless {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}

#[test]
fn a_question_mark_is_enough() {
    each_way(|starter| {
        let start = |text: &str| starter.start(order, text.to_owned());
        assert_eq!(start("7").join().expect("returns"), Ok(7));
        let error = start("seven")
            .join()
            .expect("returns")
            .expect_err("no number");
        assert_eq!(error.message(), "the order is unreadable");
        let sources: Vec<&str> = error.sources().collect();
        assert_eq!(sources, ["invalid digit found in string"]);
        assert_eq!(error.to_string(), "the order is unreadable");
        assert_eq!(
            format!("{error:#}"),
            "the order is unreadable: invalid digit found in string"
        );
        let line = include_str!("task_errors.rs")
            .lines()
            .position(|line| line.ends_with("// the place of the `?`"))
            .expect("the line is there");
        let place = format!("crates/brigade/tests/contract/task_errors.rs:{}:", line + 1);
        assert!(error.location().starts_with(&place), "{}", error.location());
    });
}

#[test]
fn both_kinds_give_an_equal_error() {
    both(|kind| {
        let here = order("seven".to_owned()).expect_err("no number");
        let there = kind.spawn(order, "seven".to_owned()).expect("starts");
        let there = there.join().expect("returns").expect_err("no number");
        // What calls the task differs.
        assert_eq!(here.backtrace().is_some(), there.backtrace().is_some());
        if here.backtrace().is_none() {
            assert_eq!(here, there);
        }
        // There and back once more, it stays what it is.
        let back = kind.spawn(|error: TaskError| error, there.clone());
        assert_eq!(back.expect("starts").join().expect("returns"), there);
    });
}

#[test]
fn a_chain_without_end_is_cut() {
    each_way(|starter| {
        let failed = starter.start(|()| -> Result<(), TaskError> { Err(Endless)? }, ());
        let error = failed.join().expect("returns").expect_err("it fails");
        assert_eq!(error.sources().count(), 64);
        let error = error.context("at last");
        assert_eq!(error.sources().count(), 64);
        assert!(format!("{error:#}").starts_with("at last: once more: once more"));
    });
}

#[test]
fn it_is_an_error_for_those_who_want_one() {
    fn boxed(error: TaskError) -> Result<(), Box<dyn Error + Send + Sync>> {
        Err(error)?
    }
    fn another(error: TaskError) -> Result<(), TaskError> {
        Err(error)?
    }
    let error = order("seven".to_owned()).expect_err("no number");
    let source = |error: &dyn Error| error.source().map(ToString::to_string);
    let expected = Some("invalid digit found in string".to_owned());
    assert_eq!(another(error.clone()).expect_err("it is one"), error);
    assert_eq!(
        source(&*boxed(error.clone()).expect_err("it is one")),
        expected
    );
    assert_eq!(source(&error.clone().into_error()), expected);
    assert_eq!(source(&*error), expected);
    let there: anyhow::Error = error.clone().into_error().into();
    assert_eq!(format!("{there:#}"), format!("{error:#}"));
    let back = TaskError::of(there.as_ref());
    assert_eq!(
        (back.message(), back.sources().count()),
        (error.message(), 1)
    );
    // A `Display` of the message alone, also within a chain.
    let outer = error.context("nothing is cooked");
    assert_eq!(
        format!("{}", outer.sources().next().expect("one")),
        "the order is unreadable"
    );
    // What `main` prints.
    let printed = format!("{outer:?}");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "nothing is cooked");
    assert!(
        lines[1].starts_with("    at crates/brigade/tests/contract/task_errors.rs:"),
        "{printed}"
    );
    assert_eq!(lines[2], "caused by: the order is unreadable");
    assert_eq!(lines[3], "caused by: invalid digit found in string");
}

#[test]
fn its_json_is_read_back() {
    let error = order("seven".to_owned()).expect_err("no number");
    let json = serde_json::to_string(&error).expect("writes");
    assert_eq!(
        serde_json::from_str::<TaskError>(&json).expect("reads"),
        error
    );
}

/// Whether this program's file is still where std looks for the names of its functions.
fn is_at_its_path() -> bool {
    use std::os::unix::fs::MetadataExt;
    let file =
        |path: std::path::PathBuf| std::fs::metadata(path).map(|file| (file.dev(), file.ino()));
    let path = std::env::current_exe().and_then(file);
    path.is_ok_and(|path| file("/proc/self/exe".into()).is_ok_and(|own| own == path))
}

#[test]
fn a_backtrace_is_there_if_it_is_asked_for() {
    // Set for the workers of these pools alone; a thread has the environment of the program.
    brigade::init();
    let worker = |value| brigade::process::Builder::new().env("RUST_BACKTRACE", value);
    for (asked, value) in [(false, "0"), (true, "1")] {
        let worker = worker(value).env("RUST_LIB_BACKTRACE", value);
        let pool = Pool::builder(Kind::Process).workers(1).process(worker);
        let pool = pool.build().expect("a pool");
        let error = pool
            .submit(order, "seven".to_owned())
            .join()
            .expect("returns");
        let error = error.expect_err("no number");
        assert_eq!(error.backtrace().is_some(), asked, "{error:?}");
        if let Some(backtrace) = error.backtrace() {
            // In optimized programs a task that is inlined has its place only.
            let is_named =
                backtrace.contains("task_errors::order") || backtrace.contains("task_errors.rs");
            assert!(is_named || !is_at_its_path(), "{backtrace}");
            assert!(
                format!("{error:?}").contains("stack backtrace:\n"),
                "{error:?}"
            );
        }
    }
}

#[test]
fn a_join_error_can_be_cloned() {
    each_way(|starter| {
        let error = starter.start(|()| -> () { panic!("too hot") }, ());
        let error = error.join().expect_err("it panics");
        assert!(error.is_panic() && !error.is_crash() && !error.is_timeout());
        assert!(!error.is_cancelled() && !error.is_undeliverable() && !error.is_closed());
        let clone = error.clone();
        assert_eq!(format!("{clone:?}"), format!("{error:?}"));
        let (brigade::JoinError::Panicked(one), brigade::JoinError::Panicked(other)) =
            (&clone, &error)
        else {
            unreachable!("it is a panic");
        };
        assert_eq!(one.backtrace(), other.backtrace());
        assert!(one.backtrace().is_some());
        if starter.kind() == Kind::Process {
            let error = starter.start(|()| -> () { std::process::abort() }, ());
            let error = error.join().expect_err("it dies");
            assert!(error.is_crash() && !error.is_panic());
            assert_eq!(error.clone().to_string(), error.to_string());
        }
    });
}
