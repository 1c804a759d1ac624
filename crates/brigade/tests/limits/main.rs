//! What a worker may use: each limit holds, for a process of its own and in a pool, and what it is
//! ended by has its name.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use brigade::process::{self, Builder, Enforcement, Limit, limited_by};
use brigade::{Cause, JoinError, Kind, Pool};
use libtest_mimic::{Arguments, Trial};

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(30);

macro_rules! trials {
    ($($name:ident),* $(,)?) => {
        vec![$(Trial::test(stringify!($name), || {
            $name();
            Ok(())
        })),*]
    };
}

mod exhaustion;
mod groups;
mod pools;

/// Workers start here; and this program as an ordinary user, who may make no control groups.
fn main() {
    brigade::init();
    let mut tests = trials![
        a_task_over_its_memory_is_out_of_memory,
        a_pool_goes_on_after_one,
        memory_of_its_children_counts,
        memory_of_children_counts_without_groups,
        memory_that_children_share_counts_once,
        a_task_over_its_processor_time_is_told,
        each_task_of_a_pool_has_its_own_time,
        threads_share_their_processor_time,
        a_task_with_too_many_files_gets_an_error,
        a_file_that_grows_too_long_is_an_error,
        a_task_with_too_many_processes_gets_an_error,
        a_nice_value_and_processors_are_had,
        limits_of_nothing_are_refused,
    ];
    tests.extend(exhaustion::trials());
    tests.extend(groups::trials());
    tests.extend(pools::trials());
    if is_root() {
        tests.push(Trial::test("all_of_it_as_an_ordinary_user", || {
            as_an_ordinary_user();
            Ok(())
        }));
    }
    match std::env::args().nth(1).as_deref() {
        Some("--hold") => groups::hold(),
        Some("--pool") => groups::pool(),
        Some("--ask") => println!("{}", groups::place().expect("there is one").display()),
        _ => libtest_mimic::run(&Arguments::from_args(), tests).exit(),
    }
}

fn is_root() -> bool {
    // SAFETY: asks for a number.
    unsafe { libc::geteuid() == 0 }
}

const MIB: u64 = 1 << 20;

fn cause<R>(ended: Result<R, JoinError>) -> Cause {
    match ended {
        Err(JoinError::Crashed(crash)) => crash.cause().clone(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it returned"),
    }
}

/// Touches so many MiB.
fn take(mib: usize) -> u64 {
    let mut taken = Vec::new();
    for _ in 0..mib {
        taken.push(vec![1_u8; MIB as usize]);
    }
    taken.iter().map(|part| u64::from(part[7])).sum()
}

fn a_task_over_its_memory_is_out_of_memory() {
    let small = Builder::new().memory_limit(64 * MIB);
    assert_eq!(
        cause(small.spawn(take, 500).expect("a worker").join()),
        Cause::OutOfMemory
    );
    assert_eq!(
        small
            .spawn(take, 20)
            .expect("a worker")
            .join()
            .expect("enough"),
        20
    );
}

fn a_pool_goes_on_after_one() {
    let small = Builder::new().memory_limit(64 * MIB);
    let pool = Pool::builder(Kind::Process)
        .workers(2)
        .process(small)
        .build()
        .expect("a pool");
    let asked = [10, 500, 10, 500, 10, 10];
    for (ended, mib) in pool.map(take, asked).zip(asked) {
        match ended {
            Ok(sum) => assert_eq!(sum, mib as u64),
            Err(e) => assert_eq!((cause::<()>(Err(e)), mib), (Cause::OutOfMemory, 500)),
        }
    }
}

/// In a group, all of a task's processes have the memory together.
fn memory_of_its_children_counts() {
    if !limited_by(Limit::Memory).is_enforced() {
        return;
    }
    fn have_child_take(mib: usize) -> bool {
        let bytes = mib as u64 * MIB;
        let program = format!("x=$(head -c {bytes} /dev/zero | tr '\\0' x); echo ${{#x}}");
        let output = Command::new("/bin/sh")
            .args(["-c", &program])
            .output()
            .expect("a shell");
        output.status.success() && output.stdout.len() > 5
    }
    let small = Builder::new().memory_limit(32 * MIB);
    let few = small.spawn(have_child_take, 1).expect("a worker").join();
    assert!(few.expect("it returns"));
    let ended = small.spawn(have_child_take, 300).expect("a worker").join();
    match ended {
        Ok(succeeded) => assert!(!succeeded),
        Err(e) => assert_eq!(cause::<()>(Err(e)), Cause::OutOfMemory),
    }
}

/// So many children, which have 20 MiB each, for so long. No shells: where a processor is emulated,
/// one takes half a minute to have as much.
fn have_children_hold((children, time): (usize, Duration)) -> bool {
    let pipe = || {
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        (fs::File::from(read), fs::File::from(write))
    };
    let ((mut said, says), (told, tells)) = (pipe(), pipe());
    let mut all = Vec::new();
    for _ in 0..children {
        // SAFETY: a worker has one thread that could hold a lock of the allocator.
        match unsafe { libc::fork() } {
            0 => {
                drop(tells);
                let held = std::hint::black_box(vec![1_u8; 20 * MIB as usize]);
                let is_there = (&says).write_all(&held[..1]).is_ok();
                let is_over = (&told).read(&mut [0]).is_ok();
                // SAFETY: does not return.
                unsafe { libc::_exit(i32::from(!(is_there && is_over))) }
            }
            -1 => return false,
            child => all.push(child),
        }
    }
    drop(says);
    let mut there = vec![0; children];
    said.read_exact(&mut there).expect("each has its memory");
    std::thread::park_timeout(time);
    drop(tells);
    all.into_iter().all(|child| {
        let mut status = -1;
        // SAFETY: a child of this process that was not reaped; the status is written.
        let reaped = unsafe { libc::waitpid(child, &raw mut status, 0) };
        reaped == child && status == 0
    })
}

/// The memory of a worker is looked at every 320 ms, or more often.
const SOME_LOOKS: Duration = Duration::from_secs(1);

/// Each of them is within the limit of its address space; together they are not.
fn memory_of_children_counts_without_groups() {
    if limited_by(Limit::Memory).is_enforced() {
        return;
    }
    let limit = Builder::new().memory_limit(96 * MIB);
    let many = limit.spawn(have_children_hold, (6, LIMIT));
    assert_eq!(cause(many.expect("a worker").join()), Cause::OutOfMemory);
    let few = limit
        .spawn(have_children_hold, (2, SOME_LOOKS))
        .expect("a worker");
    assert!(few.join().expect("there is room for them"));
    let pool = Pool::builder(Kind::Process).workers(1).process(limit);
    let pool = pool.build().expect("a pool");
    let many = pool.submit(have_children_hold, (6, LIMIT));
    assert_eq!(cause(many.join()), Cause::OutOfMemory);
    assert_eq!(pool.submit(take, 20).join().expect("it goes on"), 20);
}

fn memory_that_children_share_counts_once() {
    fn share(mib: usize) -> usize {
        let taken: Vec<_> = (0..mib).map(|_| vec![1_u8; MIB as usize]).collect();
        let mut children = Vec::new();
        for _ in 0..4 {
            // SAFETY: the child only waits for its end, which comes with this task's.
            match unsafe { libc::fork() } {
                0 => loop {
                    // SAFETY: no memory is involved.
                    unsafe { libc::pause() };
                },
                -1 => return 0,
                child => children.push(child),
            }
        }
        std::thread::park_timeout(SOME_LOOKS);
        for child in children {
            // SAFETY: a child of this process that was not reaped.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
        }
        taken.len()
    }
    let limit = Builder::new().memory_limit(128 * MIB);
    let shared = limit.spawn(share, 60).expect("a worker").join();
    assert_eq!(shared.expect("there is enough"), 60);
}

fn busy(time: Duration) -> u64 {
    let mut rounds = 0;
    let begun = cpu_time();
    while cpu_time() - begun < time {
        rounds += 1;
    }
    rounds
}

fn cpu_time() -> Duration {
    // SAFETY: the time is written.
    let now = unsafe {
        let mut now: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now);
        now
    };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn a_task_over_its_processor_time_is_told() {
    let brief = Builder::new().cpu_limit(Duration::from_millis(100));
    let ended = brief.spawn(busy, LIMIT).expect("a worker").join();
    assert_eq!(cause(ended), Cause::CpuLimit);
    // To wait is not to use it.
    fn wait(time: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < time {
            std::thread::park_timeout(time);
        }
        true
    }
    let waited = brief
        .spawn(wait, Duration::from_millis(300))
        .expect("a worker");
    assert!(waited.join().expect("it only waited"));
}

fn each_task_of_a_pool_has_its_own_time() {
    // All of them together have more; an emulator's own pauses count too.
    let brief = Builder::new().cpu_limit(Duration::from_secs(1));
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .process(brief)
        .build()
        .expect("a pool");
    for ended in pool.map(busy, [Duration::from_millis(200); 6]) {
        assert!(ended.expect("each is within its time") > 0);
    }
    assert_eq!(cause(pool.submit(busy, LIMIT).join()), Cause::CpuLimit);
    assert!(pool.submit(busy, Duration::from_millis(1)).join().is_ok());
}

fn threads_share_their_processor_time() {
    fn both(time: Duration) -> u64 {
        let other = std::thread::spawn(move || busy(time));
        busy(time) + other.join().expect("it ends")
    }
    let brief = Builder::new().cpu_limit(Duration::from_millis(200));
    assert_eq!(
        cause(brief.spawn(both, LIMIT).expect("a worker").join()),
        Cause::CpuLimit
    );
}

fn a_task_with_too_many_files_gets_an_error() {
    fn open(count: usize) -> Result<usize, Option<i32>> {
        let mut files = Vec::new();
        for _ in 0..count {
            files.push(fs::File::open("/dev/null").map_err(|e| e.raw_os_error())?);
        }
        Ok(files.len())
    }
    let few = Builder::new().open_files_limit(32);
    assert_eq!(
        few.spawn(open, 100).expect("a worker").join().expect("ok"),
        Err(Some(libc::EMFILE))
    );
    assert_eq!(
        few.spawn(open, 8).expect("a worker").join().expect("ok"),
        Ok(8)
    );
}

fn a_file_that_grows_too_long_is_an_error() {
    fn write(mib: usize) -> Result<(), Option<i32>> {
        let path = std::env::temp_dir().join(format!("brigade-long-{}", std::process::id()));
        let mut file = fs::File::create(&path).expect("created");
        let part = vec![0; MIB as usize];
        let written = (0..mib).try_for_each(|_| file.write_all(&part));
        fs::remove_file(&path).expect("removed");
        written.map_err(|e| e.raw_os_error())
    }
    let short = Builder::new().file_size_limit(4 * MIB);
    assert_eq!(
        short.spawn(write, 8).expect("a worker").join().expect("ok"),
        Err(Some(libc::EFBIG))
    );
    assert_eq!(
        short.spawn(write, 2).expect("a worker").join().expect("ok"),
        Ok(())
    );
}

fn a_task_with_too_many_processes_gets_an_error() {
    fn start(count: usize) -> Result<usize, Option<i32>> {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let ended = std::sync::Arc::new(std::sync::Mutex::new(ended));
        let mut threads = Vec::new();
        for _ in 0..count {
            let ended = std::sync::Arc::clone(&ended);
            let thread = std::thread::Builder::new().spawn(move || {
                let _ = ended.lock().map(|ended| ended.recv());
            });
            threads.push(thread.map_err(|e| e.raw_os_error()));
        }
        drop(end);
        let started = threads.iter().filter(|t| t.is_ok()).count();
        let mut failed = None;
        for thread in threads {
            match thread {
                Ok(thread) => thread.join().expect("it ends"),
                Err(e) => failed = Some(e),
            }
        }
        failed.map_or(Ok(started), Err)
    }
    let few = Builder::new().processes_limit(10);
    match limited_by(Limit::Processes) {
        Enforcement::Enforced(_) => {
            let ended = few.spawn(start, 50).expect("a worker").join();
            assert_eq!(ended.expect("ok"), Err(Some(libc::EAGAIN)));
            assert_eq!(
                few.spawn(start, 4).expect("a worker").join().expect("ok"),
                Ok(4)
            );
        }
        // All of the user's are counted, in the whole machine.
        Enforcement::Partial(_) => {
            let ended = few
                .spawn(start, 50)
                .map(|worker| worker.join().expect("ok"));
            assert_eq!(ended.expect("a worker"), Err(Some(libc::EAGAIN)));
        }
        _ => {
            let why = few
                .spawn(start, 1)
                .map(drop)
                .expect_err("it cannot be had")
                .to_string();
            assert!(why.contains("control group"), "{why}");
        }
    }
}

fn a_nice_value_and_processors_are_had() {
    fn look(_: ()) -> (i32, usize) {
        // SAFETY: numbers, and a set that is written.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of_val(&set), &raw mut set);
            (
                libc::getpriority(libc::PRIO_PROCESS, 0),
                libc::CPU_COUNT(&set) as usize,
            )
        }
    }
    let low = Builder::new().nice(7).cpu_affinity([0]);
    assert_eq!(
        low.spawn(look, ()).expect("a worker").join().expect("ok"),
        (7, 1)
    );
    let none = Builder::new().cpu_affinity([100_000]);
    let why = none
        .spawn(look, ())
        .map(drop)
        .expect_err("no such processor")
        .to_string();
    assert!(why.contains("100000"), "{why}");
}

fn limits_of_nothing_are_refused() {
    for nothing in [
        Builder::new().memory_limit(0),
        Builder::new().processes_limit(0),
        Builder::new().open_files_limit(0),
        Builder::new().cpu_limit(Duration::ZERO),
    ] {
        let refused = nothing.spawn(|()| (), ()).map(drop).expect_err("nothing");
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    }
}

/// Who may make no control groups.
fn as_an_ordinary_user() {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .env_remove("BRIGADE_TEST_GROUPS")
        .uid(12_346)
        .gid(12_346)
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let _ = process::start_method();
}
