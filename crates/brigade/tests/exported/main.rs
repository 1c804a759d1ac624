//! Tasks by function and name, values as bytes, errors as values: what a crate needs that carries
//! tasks to other machines.

#![cfg(all(target_os = "linux", not(brigade_portable)))]

use std::panic::Location;
use std::time::Duration;

use brigade::exported::{Exported, Failure, decode, encode};
use brigade::{Cause, JoinError, Kind, Phase, Pool, process};

fn add((a, b): (u64, u64)) -> u64 {
    a.wrapping_add(b)
}
brigade::export!("add", add);

fn subtract((a, b): (u64, u64)) -> u64 {
    a.wrapping_sub(b)
}
brigade::export!("subtract", subtract);

fn not_exported((a, b): (u64, u64)) -> u64 {
    a ^ b
}

brigade::export!("twice", |n: u8| n);
brigade::export!("twice", |n: u8| n + 1);

mod elsewhere {
    /// The compiler makes it anew wherever it is used, so that it has several addresses, as small
    /// functions have in optimized builds.
    #[inline(always)]
    pub(super) fn triple(n: u64) -> u64 {
        n.wrapping_mul(3)
    }
    brigade::export!("triple", triple);

    /// The compiler may merge it with the other one.
    pub(super) fn triple_too(n: u64) -> u64 {
        n.wrapping_mul(3)
    }
    brigade::export!("triple_too", triple_too);
}

#[test]
fn a_function_is_found_whatever_its_address() {
    let found = |e: Option<Exported>| e.map(|e| e.name());
    assert_eq!(found(Exported::find(add)), Some("add"));
    assert_eq!(found(Exported::find(subtract)), Some("subtract"));
    assert_eq!(found(Exported::find(elsewhere::triple)), Some("triple"));
    assert_eq!(
        found(Exported::find(elsewhere::triple_too)),
        Some("triple_too")
    );
    assert!(Exported::find(not_exported).is_none());
    assert!(Exported::find(|n: u64| n.wrapping_mul(3)).is_none());
}

#[test]
fn a_pointer_to_a_function_is_found_by_its_address() {
    let names = [add, subtract].map(|task| Exported::find(task).map(|e| e.name()));
    assert_eq!(names, [Some("add"), Some("subtract")]);
    assert!(Exported::find(not_exported as fn((u64, u64)) -> u64).is_none());
}

#[test]
fn an_export_gives_the_function_of_its_types() {
    let task = Exported::named("add").expect("exported");
    let function = task.function::<(u64, u64), u64>().expect("of these types");
    assert_eq!(function((1, 2)), 3);
    assert!(task.function::<(u64, u64), u32>().is_none());
}

#[test]
fn a_name_is_found_or_told_to_be_none() {
    let task = Exported::named("add").expect("exported");
    assert_eq!(task.types(), Exported::find(add).and_then(|e| e.types()));
    assert!(task.types().is_some_and(|types| types.contains("u64")));
    let input = encode(&(1_u64, 2_u64)).expect("encodes");
    let result = (task.encoded())(input).expect("runs");
    assert_eq!(decode::<u64>(&result), Ok(3));

    let none = Exported::named("none").expect_err("not exported");
    assert!(none.to_string().contains("`add`"), "{none}");
    let twice = Exported::named("twice").expect_err("two of them");
    assert!(twice.to_string().contains("more than one"), "{twice}");
}

fn which_run(at: u32) -> (u32, u32) {
    (at, brigade::attempt())
}
brigade::export!("which_run", which_run);

fn dies_once(_: u32) -> u32 {
    // The second run of this pool; for the task it is the fifth.
    if brigade::attempt() < 5 {
        std::process::abort();
    }
    brigade::attempt()
}
brigade::export!("dies_once", dies_once);

#[test]
fn a_task_is_told_how_often_it_was_begun_elsewhere() {
    brigade::init();
    for kind in [Kind::Thread, Kind::Process] {
        let pool = Pool::builder(kind).workers(1).retries(1).build();
        let pool = pool.expect("a pool");
        let run = |name: &str, input: (u32, u32)| {
            let task = Exported::named(name).expect("exported").encoded_run();
            let input = (input.0, encode(&input.1).expect("encodes"));
            pool.submit(task, input)
                .join()
                .expect("ends")
                .expect("runs")
        };
        assert_eq!(decode(&run("which_run", (3, 7))), Ok((7_u32, 3_u32)));
        // Others are not told so.
        assert_eq!(pool.submit(which_run, 7).join().expect("runs"), (7, 1));
        if kind == Kind::Process {
            assert_eq!(decode(&run("dies_once", (4, 0))), Ok(5_u32));
        }
    }
}

#[test]
fn other_bytes_are_refused() {
    let task = Exported::named("add").expect("exported");
    let why = (task.encoded())(vec![1, 2, 3]).expect_err("no such value");
    assert!(why.contains("its input could not be decoded"), "{why}");
}

#[test]
fn descriptors_do_not_leave_the_machine() {
    let (sender, _receiver) = brigade::channel::pipe::<u32>(1).expect("a channel");
    let why = encode(&sender).expect_err("a descriptor");
    assert!(why.to_string().contains("descriptors"), "{why}");
}

fn sent(error: &JoinError) -> JoinError {
    let bytes = encode(&Failure::of(error)).expect("encodes");
    decode::<Failure>(&bytes)
        .expect("decodes")
        .into_error("there", Location::caller())
}

#[test]
fn errors_are_told_in_full() {
    brigade::init();
    for kind in Kind::ALL {
        let panicked = kind.spawn(|n: u32| -> u32 { panic!("of {n}") }, 7);
        let panicked = panicked.expect("starts").join().expect_err("panics");
        let JoinError::Panicked(told) = sent(&panicked) else {
            panic!("{panicked:?}");
        };
        let JoinError::Panicked(here) = panicked else {
            panic!("{panicked:?}");
        };
        assert_eq!(told.message(), "of 7");
        assert_eq!(told.location(), here.location());
        assert_eq!(told.backtrace(), here.backtrace());
        assert_eq!(told.task(), "there");
    }
    let crashed = process::spawn(|()| -> () { std::process::abort() }, ());
    let crashed = crashed.expect("starts").join().expect_err("aborts");
    let JoinError::Crashed(told) = sent(&crashed) else {
        panic!("{crashed:?}");
    };
    let JoinError::Crashed(here) = crashed else {
        panic!("{crashed:?}");
    };
    assert_eq!(told.cause(), &Cause::Abort);
    assert_eq!((told.pid(), told.phase()), (here.pid(), here.phase()));
    assert_eq!(told.backtrace(), here.backtrace());
    assert_eq!(
        told.to_string(),
        here.to_string().replace(here.task(), "there")
    );
}

#[test]
fn a_timeout_is_told_in_full() {
    brigade::init();
    let limit = Duration::from_millis(50);
    let pool = Pool::builder(Kind::Process).workers(1).timeout(limit);
    let pool = pool.build().expect("a pool");
    let hang = |()| -> () {
        loop {
            std::thread::park();
        }
    };
    let error = pool.submit(hang, ()).join().expect_err("no end");
    let JoinError::TimedOut(told) = sent(&error) else {
        panic!("{error:?}");
    };
    assert_eq!(told.after(), limit);
    assert_eq!(told.phase(), Some(Phase::Running));
    assert!(told.had_begun() && told.pid().is_some());
}

#[test]
fn a_deadline_counts_from_when_the_task_was_submitted_first() {
    brigade::init();
    let pool = Pool::processes(1).expect("a pool");
    let hang = |()| -> () {
        loop {
            std::thread::park();
        }
    };
    let limit = Duration::from_millis(50);
    let task = pool.task(hang).deadline(std::time::Instant::now() + limit);
    let error = task.submit(()).join().expect_err("no end");
    let here = |failure: Failure| match failure.into_error("there", Location::caller()) {
        JoinError::TimedOut(told) => told,
        other => panic!("{other:?}"),
    };
    let earlier = Duration::from_secs(7);
    let told = here(Failure::of(&error).submitted_earlier(earlier));
    let JoinError::TimedOut(before) = sent(&error) else {
        panic!("{error:?}");
    };
    assert_eq!(told.after(), before.after() + earlier);
    assert_eq!(told.had_begun(), before.had_begun());
    for had_begun in [false, true] {
        let told = here(Failure::deadline(limit, had_begun));
        assert_eq!((told.after(), told.had_begun()), (limit, had_begun));
    }
    let other = Failure::lost().submitted_earlier(earlier);
    assert!(other.into_error("there", Location::caller()).is_crash());
}

#[test]
fn the_others_are_themselves() {
    assert!(sent(&JoinError::Cancelled).is_cancelled());
    assert!(sent(&JoinError::Closed).is_closed());
    let why = JoinError::Undeliverable("why".to_owned());
    assert_eq!(sent(&why).to_string(), "why");
    let lost = Failure::lost().into_error("there", Location::caller());
    assert!(lost.is_crash(), "{lost}");
}
