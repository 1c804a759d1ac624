//! What a task in a sandbox that grants nothing can still do.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use brigade::channel::{Receiver, Sender, Transport, channel};
use brigade::sync::Mutex;
use brigade::{Descriptor, JoinError, Kind, Pool, Sandbox, Shared, process, shm};
use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    crate::trials![
        it_computes_allocates_and_starts_threads,
        it_panics_with_a_backtrace,
        its_stderr_is_kept,
        it_has_the_time_and_random_numbers,
        it_uses_the_channels_that_it_was_given,
        it_uses_shared_memory_and_locks,
        it_writes_its_part_of_a_region_and_gives_it_back,
        large_values_go_in_and_out,
        many_large_values_go_through_a_pool_and_nothing_is_refused,
        it_uses_the_file_that_it_was_given,
        its_environment_is_empty,
        it_has_what_the_builder_gives,
        a_pool_loads_before_the_door_shuts,
        a_pool_goes_on_after_a_violation,
        a_task_is_timed_out_and_its_worker_replaced,
        no_task_finds_what_another_has_left,
    ]
}

fn shut_in() -> process::Builder {
    process::Builder::new().sandbox(Sandbox::deny_all())
}

fn it_computes_allocates_and_starts_threads() {
    let sums = shut_in().spawn(
        |numbers: Vec<u64>| -> u64 {
            let halves: Vec<Vec<u64>> = numbers.chunks(50_000).map(<[u64]>::to_vec).collect();
            let threads: Vec<_> = halves
                .into_iter()
                .map(|half| std::thread::spawn(move || half.iter().sum::<u64>()))
                .collect();
            threads.into_iter().map(|t| t.join().expect("a sum")).sum()
        },
        (0..100_000).collect(),
    );
    let sum = sums.expect("a worker").join().expect("a sum");
    assert_eq!(sum, 4_999_950_000);
}

fn it_panics_with_a_backtrace() {
    fn deep(_: ()) {
        panic!("too deep");
    }
    match shut_in().spawn(deep, ()).expect("a worker").join() {
        Err(JoinError::Panicked(panic)) => {
            assert_eq!(panic.message(), "too deep");
            assert!(panic.location().is_some_and(|l| l.contains("works.rs")));
            assert!(panic.backtrace().is_some_and(|b| b.contains("deep")));
        }
        other => panic!("{other:?}"),
    }
}

fn its_stderr_is_kept() {
    fn complain(_: ()) {
        eprintln!("the last words");
        std::process::abort();
    }
    match shut_in().spawn(complain, ()).expect("a worker").join() {
        Err(JoinError::Crashed(crash)) => assert!(crash.stderr().contains("the last words")),
        other => panic!("{other:?}"),
    }
}

fn it_has_the_time_and_random_numbers() {
    fn look(_: ()) -> bool {
        let begun = Instant::now();
        std::thread::park_timeout(Duration::from_millis(1));
        let random = std::collections::hash_map::RandomState::new();
        let hash = std::hash::BuildHasher::hash_one(&random, 1);
        begun.elapsed() > Duration::ZERO && hash != 0
    }
    assert!(
        shut_in()
            .spawn(look, ())
            .expect("a worker")
            .join()
            .expect("ok")
    );
}

fn it_uses_the_channels_that_it_was_given() {
    fn double((numbers, doubled): (Receiver<u64>, Sender<u64>)) {
        for number in numbers {
            doubled.send(number.expect("a number") * 2).expect("sent");
        }
    }
    for over in Transport::ALL {
        let (to, numbers) = channel(over, 4).expect("a channel");
        let (doubled, from) = channel(over, 4).expect("a channel");
        let worker = shut_in()
            .spawn(double, (numbers, doubled))
            .expect("a worker");
        for number in 0..100 {
            to.send(number).expect("sent");
            assert_eq!(from.recv(), Ok(number * 2), "{over}");
        }
        drop(to);
        worker.join().expect("it ends");
    }
}

fn it_uses_shared_memory_and_locks() {
    fn count(counter: Shared<Mutex<u64>>) {
        for _ in 0..1_000 {
            *counter.lock().expect("not poisoned") += 1;
        }
    }
    let counter = Shared::new(Mutex::new(0)).expect("shared memory");
    let workers: Vec<_> = (0..3)
        .map(|_| shut_in().spawn(count, counter.clone()).expect("a worker"))
        .collect();
    workers
        .into_iter()
        .for_each(|w| w.join().expect("it counts"));
    assert_eq!(*counter.lock().expect("not poisoned"), 3_000);
}

fn it_writes_its_part_of_a_region_and_gives_it_back() {
    fn fill(mut part: shm::Writable<[u64]>) -> shm::Writable<[u64]> {
        let from = part.range().start as u64;
        part.iter_mut().zip(from..).for_each(|(n, i)| *n = i);
        part
    }
    fn begin_and_die(mut part: shm::Writable<[u64]>) {
        part.fill(1);
        std::process::abort();
    }
    let builder = Pool::builder(Kind::Process).workers(2);
    let pool = builder.process(shut_in()).build().expect("a pool");
    let mut parts = Shared::<[u64]>::writable(9_000)
        .expect("shared memory")
        .split_into(9);
    let lost = parts.remove(4);
    let recovery = lost.recovery().expect("no limit");
    assert!(pool.submit(begin_and_die, lost).join().is_err());
    let Err(shm::RecoverError::Poisoned(lost)) = recovery.recover() else {
        panic!("its owner has died with it");
    };
    parts.push(lost.into_inner());
    let filled: Result<Vec<_>, _> = pool.map(fill, parts).collect();
    let whole = shm::Writable::join(filled.expect("no violation")).expect("all there");
    let frozen = whole.freeze().expect("no worker maps it");
    assert!(frozen.iter().zip(0..).all(|(&n, i)| n == i));
}

fn large_values_go_in_and_out() {
    let large: Vec<u64> = (0..1_000_000).collect();
    let reversed = |mut values: Vec<u64>| {
        values.reverse();
        values
    };
    let back = shut_in().spawn(reversed, large.clone()).expect("a worker");
    assert!(back.join().expect("a value").into_iter().rev().eq(large));
    fn fill(_: ()) -> Shared<[u8]> {
        let mut buffer = shm::Buffer::zeroed(1 << 20).expect("a buffer");
        buffer.fill(7);
        buffer.into_shared().expect("sealed")
    }
    let filled = shut_in().spawn(fill, ()).expect("a worker").join();
    assert!(filled.expect("a buffer").iter().all(|&byte| byte == 7));
}

fn many_large_values_go_through_a_pool_and_nothing_is_refused() {
    fn next(values: Vec<u64>) -> Vec<u64> {
        values.into_iter().map(|value| value + 1).collect()
    }
    let value = |n: u64| (n..n + 40_000 + n % 7 * 100_000).collect::<Vec<u64>>();
    for fresh in [false, true] {
        let pool = Pool::builder(Kind::Process)
            .workers(2)
            .fresh_per_task(fresh)
            .process(shut_in())
            .build()
            .expect("a pool");
        for (n, came) in (0..).zip(pool.map(next, (0..30).map(value))) {
            let came = came.expect("no violation");
            assert!(came.into_iter().eq(next(value(n))), "{n}");
        }
    }
}

fn it_uses_the_file_that_it_was_given() {
    fn read(file: Descriptor<std::fs::File>) -> (u64, String) {
        let mut file = file.into_inner();
        let len = file.metadata().expect("of what is open").len();
        let mut text = String::new();
        file.read_to_string(&mut text).expect("it is open");
        (len, text)
    }
    let path = std::env::temp_dir().join(format!("brigade-given-{}", std::process::id()));
    let mut file = std::fs::File::create(&path).expect("created");
    file.write_all(b"given").expect("written");
    let file = std::fs::File::open(&path).expect("opened");
    std::fs::remove_file(&path).expect("removed");
    let read = shut_in()
        .spawn(read, Descriptor::from(file))
        .expect("a worker")
        .join();
    assert_eq!(read.expect("a text"), (5, "given".to_owned()));
}

fn variables(name: String) -> (usize, Option<String>, String) {
    let directory = std::env::current_dir().expect("there is one");
    let all = std::env::vars_os().count();
    (
        all,
        std::env::var(name).ok(),
        directory.display().to_string(),
    )
}

fn its_environment_is_empty() {
    let seen = shut_in()
        .spawn(variables, "PATH".to_owned())
        .expect("a worker");
    assert_eq!(seen.join().expect("ok"), (0, None, "/".to_owned()));
}

fn it_has_what_the_builder_gives() {
    let builder = shut_in().env("LANGUAGE", "la").current_dir("/usr");
    let seen = builder
        .spawn(variables, "LANGUAGE".to_owned())
        .expect("a worker");
    let expected = (1, Some("la".to_owned()), "/usr".to_owned());
    assert_eq!(seen.join().expect("ok"), expected);
}

static TABLE: std::sync::OnceLock<usize> = std::sync::OnceLock::new();

fn a_pool_loads_before_the_door_shuts() {
    fn load() {
        let text = std::fs::read("/etc/passwd").expect("before the door shuts");
        let _ = TABLE.set(text.len());
    }
    fn look(_: u32) -> (Option<usize>, bool) {
        (TABLE.get().copied(), std::fs::read("/etc/passwd").is_err())
    }
    let pool = Pool::builder(Kind::Process)
        .workers(2)
        .initializer(load)
        .process(shut_in());
    let pool = pool.build().expect("a pool");
    let len = std::fs::read("/etc/passwd").expect("outside").len();
    for seen in pool.map(look, 0..10) {
        assert_eq!(seen.expect("ok"), (Some(len), true));
    }
}

fn a_pool_goes_on_after_a_violation() {
    let deadly = process::Builder::new().sandbox(Sandbox::deny_all().kill_on_violation());
    let pool = Pool::builder(Kind::Process)
        .workers(2)
        .process(deadly)
        .build();
    let pool = pool.expect("a pool");
    let read = |path: Option<String>| path.map(|p| std::fs::read(p).is_ok());
    let paths = (0..20).map(|i| (i % 5 == 0).then(|| "/etc/passwd".to_owned()));
    let mut killed = 0;
    for ended in pool.map(read, paths) {
        match ended {
            Ok(None) => {}
            Err(JoinError::Crashed(crash)) => {
                assert!(crash.to_string().contains("openat /etc/passwd"), "{crash}");
                killed += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(killed, 4);
}

pub(crate) fn a_task_is_timed_out_and_its_worker_replaced() {
    fn hang(long: bool) {
        if long {
            loop {
                std::thread::park();
            }
        }
    }
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        // The second task has to be done in it, on a machine that may be busy.
        .timeout(Duration::from_secs(1))
        .process(shut_in())
        .build()
        .expect("a pool");
    assert!(matches!(
        pool.submit(hang, true).join(),
        Err(JoinError::TimedOut(_))
    ));
    pool.submit(hang, false).join().expect("another worker");
}

static LEFT: std::sync::Mutex<Vec<u32>> = std::sync::Mutex::new(Vec::new());

fn no_task_finds_what_another_has_left() {
    fn leave(number: u32) -> (u32, Vec<u32>) {
        let mut left = LEFT.lock().expect("nobody panics");
        let found = left.clone();
        left.push(number);
        (std::process::id(), found)
    }
    for builder in [process::Builder::new(), shut_in()] {
        let pool = Pool::builder(Kind::Process)
            .workers(2)
            .fresh_per_task(true)
            .recycle_after(100)
            .process(builder)
            .build()
            .expect("a pool");
        let mut workers = std::collections::HashSet::new();
        for seen in pool.map(leave, 0..100) {
            let (worker, found) = seen.expect("ok");
            assert!(found.is_empty(), "{found:?}");
            assert!(workers.insert(worker), "{worker} ran two tasks");
        }
        let stats = pool.stats();
        assert_eq!(stats.done, 100, "{stats:?}");
    }
}
