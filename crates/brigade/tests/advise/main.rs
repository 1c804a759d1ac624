//! Advice for tasks whose best kind is known, whatever the machine does meanwhile. (Those that the
//! clock decides are in `examples/advise.rs`, which runs both ways by itself, and compares.)

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use brigade::{Advice, Advisor, Kind, Message, Shared};

/// Short, for the tests: what is seen here does not depend on it.
fn advise<A: Message + Clone, R: Message>(task: fn(A) -> R, inputs: Vec<A>) -> Advice {
    brigade::init();
    let advisor = Advisor::new().budget(Duration::from_millis(200));
    let advice = advisor.advise(task, inputs).expect("advice");
    println!("{advice}");
    advice
}

fn says(advice: &Advice, what: &str) {
    let text = advice.to_string();
    assert!(text.contains(what), "`{what}` is not in:\n{text}");
}

#[test]
fn what_crashes_is_for_processes_and_the_program_lives_on() {
    let advice = advise(
        |n: u32| {
            if n == 3 {
                std::process::abort();
            }
            n
        },
        (0..5).collect(),
    );
    assert_eq!((advice.kind(), advice.is_close()), (Kind::Process, false));
    says(&advice, "1 of 5 inputs crashed");
    assert!(advice.thread_time().is_none() && advice.process_time().is_some());
}

#[test]
fn what_exits_is_for_processes() {
    #[expect(clippy::disallowed_methods, reason = "a task that does so")]
    let advice = advise(|n: i32| -> i32 { std::process::exit(n) }, vec![0, 1]);
    assert_eq!(advice.kind(), Kind::Process);
    says(&advice, "2 of 2 inputs crashed");
}

#[expect(clippy::disallowed_methods, reason = "a task that takes its time")]
fn wait(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// Not safe in threads: two at the same time are the end.
fn alone_or_never(_: u32) {
    static RUNNING: AtomicU64 = AtomicU64::new(0);
    if RUNNING.fetch_add(1, Ordering::SeqCst) > 0 {
        std::process::abort();
    }
    wait(2);
    RUNNING.fetch_sub(1, Ordering::SeqCst);
}

#[test]
fn what_crashes_only_in_threads_together_is_for_processes() {
    let advice = advise(alone_or_never, (0..8).collect());
    assert_eq!(advice.kind(), Kind::Process);
    says(&advice, "not safe in threads");
    assert!(advice.thread_time().is_none());
}

#[test]
fn what_hangs_is_for_processes() {
    brigade::init();
    let advisor = Advisor::new().time_limit(Duration::from_secs(2));
    let hangs = |n: u32| {
        if n == 1 {
            loop {
                std::hint::spin_loop();
            }
        }
    };
    let advice = advisor.advise(hangs, [0, 1]).expect("advice");
    assert_eq!(advice.kind(), Kind::Process);
    says(&advice, "1 of 2 inputs ran over the limit of time");
}

fn leak(n: usize) -> u64 {
    let kept = Box::leak(vec![n as u8; 64 << 10].into_boxed_slice());
    kept.iter().map(|&byte| u64::from(byte)).sum()
}

#[test]
fn what_leaks_is_for_processes() {
    let advice = advise(leak, (1..9).collect());
    assert_eq!(advice.kind(), Kind::Process);
    says(&advice, "of memory behind");
    says(&advice, "recycle_above");
}

/// So quickly that each look at its memory has a limit, and not only its time.
#[test]
fn what_leaks_quickly_is_for_processes() {
    fn leak(n: usize) -> usize {
        Box::leak(vec![n as u8; 512 << 10].into_boxed_slice()).len()
    }
    brigade::init();
    let advisor = Advisor::new().budget(Duration::from_secs(4));
    let advice = advisor
        .advise(leak as fn(usize) -> usize, (1..5).collect::<Vec<_>>())
        .expect("advice");
    assert_eq!(advice.kind(), Kind::Process, "{advice}");
    says(&advice, "of memory behind");
}

/// It keeps a table, which is full one day.
fn remember(n: usize) -> usize {
    static TABLE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    let mut table = TABLE.lock().expect("nothing panics");
    if table.len() < 16 {
        table.push(vec![1; 64 << 10]);
    }
    n
}

#[test]
fn a_table_that_is_full_one_day_is_no_leak() {
    let advice = advise(remember, (0..8).collect());
    assert!(!advice.to_string().contains("memory behind"), "{advice}");
}

#[test]
fn what_counts_in_a_static_is_for_threads() {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let advice = advise(|n: u64| COUNT.fetch_add(n, Ordering::SeqCst), vec![1; 8]);
    assert_eq!(advice.kind(), Kind::Thread);
    says(&advice, "what tasks before it have left");
}

#[test]
fn what_reads_what_main_has_set_is_for_threads() {
    static SET: AtomicU64 = AtomicU64::new(0);
    SET.store(7, Ordering::SeqCst);
    let advice = advise(|n: u64| n * SET.load(Ordering::SeqCst), vec![1, 2, 3]);
    assert_eq!(advice.kind(), Kind::Thread);
    says(&advice, "the program's memory");
}

#[test]
fn what_cannot_be_carried_is_for_threads() {
    // It can be moved, and not be read back.
    #[derive(Clone, serde::Serialize)]
    struct OneWay(u32);
    impl<'de> serde::Deserialize<'de> for OneWay {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<OneWay, D::Error> {
            Err(serde::de::Error::custom("there is no way back"))
        }
    }
    let advice = advise(|input: OneWay| input.0, vec![OneWay(1)]);
    assert_eq!(advice.kind(), Kind::Thread);
    says(&advice, "there is no way back");
    assert!(advice.thread_time().is_none());
}

#[test]
fn large_inputs_with_little_work_are_for_threads() {
    let inputs = vec![vec![1_u8; 8 << 20]; 4];
    let advice = advise(|bytes: Vec<u8>| bytes[0], inputs);
    assert_eq!((advice.kind(), advice.is_close()), (Kind::Thread, false));
    says(&advice, "8.0 MiB of input are carried");
    says(&advice, "`Shared`");
}

#[test]
fn what_waits_gets_more_workers_than_there_are_processors() {
    let advice = advise(wait, vec![5; 8]);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(advice.workers() > processors, "{advice}");
    says(&advice, "I/O-bound");
    let computes = |n: u64| (0..n).fold(1_u64, |a, b| a.rotate_left(5) ^ b);
    let advice = advise(computes, vec![300_000; 8]);
    says(&advice, "CPU-bound");
    assert_eq!(advice.workers(), processors);
}

#[test]
fn what_panics_is_left_out_and_told() {
    let advice = advise(
        |n: u32| assert!(n != 1, "one is not welcome"),
        vec![0, 1, 2],
    );
    says(&advice, "1 of 3 inputs panicked");
    says(&advice, "one is not welcome");
    assert!(advice.thread_time().is_some());
    let advice = advise(|_: u32| -> u32 { panic!("never") }, vec![1]);
    assert_eq!(advice.kind(), Kind::Process);
    says(&advice, "No input returned");
}

#[test]
fn results_that_differ_each_time_decide_nothing() {
    let advice = advise(|_: u32| std::process::id(), (0..8).collect());
    assert!(!advice.to_string().contains("something else"), "{advice}");
}

/// A region is an input that brings a descriptor.
#[test]
fn inputs_with_descriptors_are_carried() {
    brigade::init();
    let region = Shared::<[u64]>::from_slice(&[1, 2, 3]).expect("a region");
    let advice = advise(
        |region: Shared<[u64]>| region.iter().sum::<u64>(),
        vec![region; 3],
    );
    assert!(advice.process_time().is_some() && advice.thread_time().is_some());
    assert!(!advice.to_string().contains("something else"), "{advice}");
}

#[test]
fn no_inputs_are_an_error() {
    brigade::init();
    let error = brigade::advise(|n: u32| n, []).expect_err("no inputs");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("at least one input"), "{error}");
}
