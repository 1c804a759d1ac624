//! `PoolBuilder::trace`: what is in the file after a pool of either kind has done its work, as an
//! independent reader of Perfetto's format sees it (`reader.rs`).

mod reader;

use std::path::{Path, PathBuf};
use std::time::Duration;

use brigade::{Kind, Pool, PoolBuilder};

use reader::{Mark, Slice, Timeline};

/// A file that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, kind: Kind) -> Scratch {
        let name = format!(
            "brigade-{}-{name}-{kind}.perfetto-trace",
            std::process::id()
        );
        Scratch(std::env::temp_dir().join(name))
    }

    fn read(&self) -> Timeline {
        Timeline::read(&std::fs::read(&self.0).expect("the file"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn builder(kind: Kind, file: &Path) -> PoolBuilder {
    brigade::init();
    Pool::builder(kind).workers(2).trace(file)
}

fn add_one(n: u64) -> u64 {
    n + 1
}

/// Both kinds.
fn each(test: impl Fn(Kind)) {
    [Kind::Thread, Kind::Process].into_iter().for_each(test);
}

/// No two runs of one worker at the same time.
fn check_rows(slices: &[Slice]) {
    let mut rows: Vec<u64> = slices.iter().map(|slice| slice.track).collect();
    rows.sort_unstable();
    rows.dedup();
    for row in rows {
        let mut runs: Vec<_> = slices.iter().filter(|slice| slice.track == row).collect();
        runs.sort_by_key(|slice| slice.begin);
        assert!(runs.windows(2).all(|pair| pair[0].end <= pair[1].begin));
    }
}

#[test]
fn each_task_is_a_slice() {
    each(|kind| {
        let file = Scratch::new("slices", kind);
        let pool = builder(kind, &file.0).name("sums").build().expect("a pool");
        let submitted: Vec<_> = (0..50).map(|n| pool.submit(add_one, n)).collect();
        for task in submitted {
            task.join().expect("a result");
        }
        assert_eq!(pool.map(add_one, 0..500).filter(Result::is_ok).count(), 500);
        assert_eq!(pool.map_unordered(add_one, 0..50).count(), 50);
        drop(pool);
        let timeline = file.read();
        let slices = timeline.slices();
        assert_eq!(slices.len(), 600, "{kind}");
        assert!(
            slices.iter().all(|slice| slice.name.contains("add_one")),
            "{kind}"
        );
        check_rows(&slices);
        let mut tasks: Vec<u64> = slices.iter().map(|slice| slice.count("task")).collect();
        tasks.sort_unstable();
        assert!(tasks.into_iter().eq(0..600), "{kind}: each of them once");
        for slice in &slices {
            assert_eq!(slice.text("outcome"), None);
            assert_eq!(slice.has("pid"), kind == Kind::Process);
        }
        let pool = timeline.track_of("sums: pool of ");
        assert!(
            slices
                .iter()
                .all(|slice| timeline.parent(slice.track) == Some(pool))
        );
        let rows = timeline.children(pool);
        assert!((1..=2).contains(&rows.len()), "{kind}: {rows:?}");
        assert!(
            rows.iter().all(|row| row.starts_with(&kind.to_string())),
            "{rows:?}"
        );
    });
}

fn for_a_while(millis: u64) {
    let begin = std::time::Instant::now();
    while begin.elapsed() < Duration::from_millis(millis) {
        std::hint::spin_loop();
    }
}

#[test]
fn a_slice_is_as_long_as_its_task_ran() {
    each(|kind| {
        let file = Scratch::new("length", kind);
        let pool = builder(kind, &file.0).workers(1).build().expect("a pool");
        let begin = std::time::Instant::now();
        let tasks: Vec<_> = (0..3).map(|_| pool.submit(for_a_while, 20)).collect();
        tasks
            .into_iter()
            .for_each(|task| task.join().expect("a result"));
        drop(pool);
        let slices = file.read().slices();
        assert_eq!(slices.len(), 3);
        check_rows(&slices);
        for slice in &slices {
            let long = Duration::from_nanos(slice.end - slice.begin);
            assert!(long >= Duration::from_millis(20), "{kind}: {long:?}");
        }
        // None has waited longer than since the first was submitted.
        let all = begin.elapsed().as_micros();
        assert!(
            slices
                .iter()
                .all(|slice| u128::from(slice.count("waited_us")) <= all)
        );
    });
}

fn names(marks: &[Mark]) -> Vec<&str> {
    marks.iter().map(|mark| &mark.name[..]).collect()
}

#[test]
fn a_panic_is_told_beside_its_slice() {
    each(|kind| {
        let file = Scratch::new("panic", kind);
        let pool = builder(kind, &file.0).build().expect("a pool");
        let ended = pool.submit(|n: u32| assert!(n > 1, "too small"), 1).join();
        assert!(ended.is_err());
        drop(pool);
        let timeline = file.read();
        let slices = timeline.slices();
        assert_eq!(slices.len(), 1);
        assert_eq!(slices[0].text("outcome"), Some("panicked"));
        assert_eq!(timeline.marks().len(), 0, "{kind}: its worker goes on");
    });
}

#[test]
fn a_crash_a_retry_and_a_replacement_are_marked() {
    let file = Scratch::new("crash", Kind::Process);
    let pool = builder(Kind::Process, &file.0)
        .workers(1)
        .retries(1)
        .build();
    let pool = pool.expect("a pool");
    let crashed = pool.submit(|()| -> () { std::process::abort() }, ()).join();
    assert!(crashed.is_err());
    assert_eq!(pool.submit(add_one, 1).join().expect("a result"), 2);
    drop(pool);
    let timeline = file.read();
    let slices = timeline.slices();
    let outcomes: Vec<_> = slices.iter().map(|slice| slice.text("outcome")).collect();
    assert_eq!(outcomes, [Some("crashed"), Some("crashed"), None]);
    let pids: Vec<u64> = slices.iter().map(|slice| slice.count("pid")).collect();
    assert!(pids[0] != pids[1] && pids[1] != pids[2]);
    let marks = timeline.marks();
    let count = |what| names(&marks).iter().filter(|name| **name == what).count();
    assert_eq!((count("retried"), count("replaced")), (1, 2), "{marks:?}");
    assert_eq!(
        (count("crashed"), count("another process")),
        (1, 2),
        "{marks:?}"
    );
    let crash = marks
        .iter()
        .find(|mark| mark.name == "crashed")
        .expect("there is one");
    assert!(crash.text("why").expect("a reason").contains("abort"));
    assert_eq!(crash.track, slices[1].track, "on its worker's row");
}

#[test]
fn a_timeout_is_told_for_both_kinds() {
    each(|kind| {
        let file = Scratch::new("timeout", kind);
        let limit = Duration::from_secs(1);
        let pool = builder(kind, &file.0)
            .workers(1)
            .timeout(limit)
            .build()
            .expect("a pool");
        // A thread that is let go runs on: it ends here, some time.
        let ended = pool.submit(for_a_while, 5000).join();
        assert!(ended.is_err());
        assert_eq!(pool.map(add_one, 0..9).filter(Result::is_ok).count(), 9);
        // All is written now, though the thread that was let go still runs.
        drop(pool);
        let timeline = file.read();
        let slices = timeline.slices();
        assert_eq!(slices.len(), 10, "{kind}");
        assert_eq!(slices[0].text("outcome"), Some("timed out"));
        assert!(slices[0].end - slices[0].begin >= limit.as_nanos() as u64 * 9 / 10);
        let marks = timeline.marks();
        let mut marks = names(&marks);
        marks.retain(|name| *name != "another process");
        assert_eq!(marks, ["replaced"], "{kind}");
    });
}

#[test]
fn what_is_cancelled_in_the_queue_has_no_slice() {
    each(|kind| {
        let file = Scratch::new("cancelled", kind);
        let pool = builder(kind, &file.0).workers(1).build().expect("a pool");
        let long = pool.submit(for_a_while, 100);
        let never = pool.submit(for_a_while, 1);
        never.cancel();
        assert!(never.join().is_err());
        long.join().expect("it is not cancelled");
        drop(pool);
        assert_eq!(file.read().slices().len(), 1, "{kind}");
    });
}

#[test]
fn the_file_can_be_read_while_the_program_runs() {
    each(|kind| {
        let file = Scratch::new("whole", kind);
        let pool = builder(kind, &file.0).build().expect("a pool");
        let mut seen = 0;
        for (n, result) in pool.map(add_one, 0..5000).enumerate() {
            result.expect("a result");
            if n % 500 == 0 {
                let bytes = std::fs::read(&file.0).expect("the file");
                let slices = Timeline::read(reader::whole_packets(&bytes)).slices().len();
                assert!(slices >= seen);
                seen = slices;
            }
        }
        drop(pool);
        assert_eq!(file.read().slices().len(), 5000, "{kind}");
    });
}

#[test]
fn files_of_several_pools_are_one_timeline() {
    let files = [Kind::Thread, Kind::Process].map(|kind| Scratch::new("together", kind));
    let pools = [Kind::Thread, Kind::Process].map(|kind| {
        let file = &files[usize::from(kind == Kind::Process)].0;
        builder(kind, file).build().expect("a pool")
    });
    for pool in pools {
        assert_eq!(pool.map(add_one, 0..10).count(), 10);
    }
    let both: Vec<u8> = files
        .iter()
        .flat_map(|file| std::fs::read(&file.0).expect("a file"))
        .collect();
    let timeline = Timeline::read(&both);
    assert_eq!(timeline.slices().len(), 20);
    let rows: Vec<_> = ["pool of threads", "pool of processes"]
        .map(|pool| timeline.children(timeline.track_of(pool)).len())
        .into();
    assert!(rows.iter().all(|rows| (1..=2).contains(rows)), "{rows:?}");
}

#[test]
fn a_file_that_cannot_be_made_is_an_error_of_build() {
    each(|kind| {
        for path in ["/nowhere/at/all", "/dev/full"] {
            let error = builder(kind, path.as_ref())
                .build()
                .expect_err("no such file");
            assert!(error.to_string().contains(path), "{error}");
        }
    });
}

/// More than a write(2) at a time, and all of it on a worker's row.
#[test]
fn many_tasks_are_many_slices() {
    each(|kind| {
        let file = Scratch::new("many", kind);
        let pool = builder(kind, &file.0).build().expect("a pool");
        assert_eq!(
            pool.map(add_one, 0..20_000).filter(Result::is_ok).count(),
            20_000
        );
        drop(pool);
        let slices = file.read().slices();
        assert_eq!(slices.len(), 20_000, "{kind}");
        check_rows(&slices);
    });
}

/// The pool's listener draws while the program forks: what it has locked stays locked in the copy.
#[test]
fn a_fork_of_the_program_drops_its_copy_at_once() {
    let file = Scratch::new("fork", Kind::Process);
    let pool = builder(Kind::Process, &file.0).build().expect("a pool");
    for _ in 0..100 {
        let handles: Vec<_> = (0..100).map(|i| pool.submit(add_one, i)).collect();
        assert_eq!(drop_in_a_fork(&pool), 0);
        for handle in handles {
            handle.join().expect("a task");
        }
    }
    drop(pool);
    assert_eq!(file.read().slices().len(), 10_000, "each once");
}

/// How a copy of this process has ended that has dropped its copy of the pool. If it hangs, its
/// alarm ends it.
fn drop_in_a_fork(pool: &Pool) -> i32 {
    // SAFETY: the copy has one thread, and does nothing but what follows. No thread borrows the
    // pool, and its copy is dropped once, for this process ends without coming back here.
    unsafe {
        match libc::fork() {
            0 => {
                libc::alarm(60);
                drop(std::ptr::read(pool));
                libc::_exit(0)
            }
            child => {
                let mut status = -1;
                libc::waitpid(child, &raw mut status, 0);
                status
            }
        }
    }
}
