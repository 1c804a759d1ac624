//! The tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use brigade_test_support::signal::kill;
use brigade_test_support::{procfs, wait};
use libtest_mimic::{Failed, Trial};

use crate::observe::{Guard, HANG, Watched, check, host, readable_within, well_behaved};

pub(crate) fn all() -> Vec<Trial> {
    let mut all = vec![
        trial("a_program_that_never_inits_gets_a_clear_error", || {
            let output = well_behaved("never-inits", &[]);
            let out = String::from_utf8_lossy(&output.stdout);
            assert!(
                out.contains("Unsupported") && out.contains("brigade::init()"),
                "{out}"
            );
        }),
        trial("so_does_one_that_inits_late", || {
            let output = well_behaved("inits-late", &[]);
            assert!(String::from_utf8_lossy(&output.stdout).contains("brigade::init()"));
        }),
        trial("a_stray_marker_does_not_make_a_second_copy", stray_marker),
        trial(
            "a_binary_that_is_replaced_goes_on_working",
            || replaced(&[]),
        ),
        trial("also_when_its_fork_server_runs_already", || {
            replaced(&["running"])
        }),
        trial("nothing_is_started_before_the_first_use", || {
            let output = well_behaved("idle", &[]);
            assert!(
                String::from_utf8_lossy(&output.stdout).contains("threads 1 children \"\""),
                "{output:?}"
            );
        }),
        trial("what_a_worker_writes_appears", || {
            let output = well_behaved_lines("prints");
            assert_eq!(output.0, "main\nout without a newline and from C");
            assert_eq!(output.1, "err without a newline");
        }),
        trial("what_a_worker_wrote_is_not_lost_when_the_host_ends", || {
            let (_, err) = well_behaved_lines("quits-at-once");
            assert_eq!(err.lines().count(), 1000);
            assert!(err.ends_with("line 999\n"));
        }),
        trial(
            "nor_is_it_where_another_user_reads_it_slowly",
            read_slowly_by_another_user,
        ),
        trial("all_ends_when_the_host_is_killed", || {
            family_ends("family", |host| host.0.kill().expect("killed"))
        }),
        trial("all_ends_when_the_host_returns", || {
            family_ends("family", |host| drop(host.0.stdin.take()))
        }),
        trial("a_pool_ends_when_the_host_is_killed", || {
            family_ends("pool-family", |host| host.0.kill().expect("killed"))
        }),
        trial("a_pool_ends_when_the_host_returns", || {
            family_ends("pool-family", |host| drop(host.0.stdin.take()))
        }),
        trial("a_pool_in_a_static_ends_with_the_host", || {
            // Its end of the pipe is all that is left to see: nobody has it open any more.
            let output = well_behaved("pool-in-a-static", &[]);
            let out = String::from_utf8_lossy(&output.stdout);
            let numbers = out.lines().find_map(|l| l.strip_prefix("pids "));
            for pid in numbers.into_iter().flat_map(|n| n.split(' ')) {
                let watched = Watched::new(pid.trim().parse().expect("a number"));
                assert!(watched.is_err() || watched.is_ok_and(|w| w.ends_within(HANG)));
            }
        }),
        trial("a_program_that_never_inits_has_pools_of_threads", || {
            let output = well_behaved("pool-never-inits", &[]);
            let out = String::from_utf8_lossy(&output.stdout);
            assert!(
                out.contains("Unsupported") && out.contains("brigade::init()"),
                "{out}"
            );
        }),
        trial("tasks_of_a_pool_that_write_without_end", || {
            let (out, err) = well_behaved_lines("pool-floods");
            for text in [out, err] {
                let written: usize = text.matches('x').count();
                assert_eq!(written, 4 * 20_000 * 99);
            }
        }),
        trial("what_two_workers_say_at_once_can_be_read", || {
            let (_, err) = well_behaved_lines("pool-talks-at-once");
            let (a, b) = ("a".repeat(60), "b".repeat(60));
            assert!(err.lines().all(|line| line == a || line == b), "{err}");
            assert_eq!(err.lines().count(), 400);
        }),
        trial("a_line_without_an_end_is_not_held_back_for_ever", || {
            let host = host("pool-asks")
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            let mut host = Guard(host.expect("starts"));
            let mut question = [0; 10];
            let mut stderr = host.0.stderr.take().expect("piped");
            assert!(readable_within(&stderr, HANG), "nothing was asked");
            stderr.read_exact(&mut question).expect("asked");
            assert_eq!(&question, b"how much? ");
            let mut stdin = host.0.stdin.take().expect("piped");
            stdin.write_all(b"much\n").expect("answered");
            assert!(host.0.wait().expect("ends").success());
        }),
        trial(
            "workers_end_even_when_host_and_server_are_killed_at_once",
            || {
                let mut family = Family::new("family");
                family.host.0.kill().expect("killed");
                kill(family.server.pid);
                assert!(
                    family
                        .workers
                        .iter()
                        .chain([&family.server])
                        .all(|p| p.ends_within(HANG)),
                    "a worker is still alive"
                );
                // The workers' own children survive this, as PLATFORM.md says: nobody was left to
                // end them.
                family.children.iter().for_each(|p| kill(p.pid));
            },
        ),
        trial("the_hosts_panic_hook_is_still_called", || {
            let (_, err) = well_behaved_lines("panic-hook");
            assert!(
                err.contains("the host's hook: in a thread") && err.contains("another hook"),
                "{err}"
            );
        }),
    ];
    // Hosts that judge for themselves.
    for (test, name) in [
        ("a_host_that_ignores_sigchld", "ignores-sigchld"),
        ("a_host_that_reaps_everything", "reaps-everything"),
        ("a_host_that_counts_its_signals", "counts-signals"),
        ("a_host_with_a_huge_heap_and_many_threads", "huge-heap"),
        ("a_host_that_inits_inside_an_async_runtime", "async"),
        ("a_host_that_forks_itself", "forks"),
        (
            "a_host_that_forks_with_everything_alive",
            "copies-everything",
        ),
        ("a_task_in_a_thread_that_forks", "copies-in-a-task"),
        ("a_host_that_talks_to_its_fork", "copies-ends-that-talk"),
        (
            "a_host_whose_fork_drops_its_ends",
            "copies-ends-and-drops-them",
        ),
        ("a_host_that_shares_locks_with_its_fork", "copies-locks"),
        ("a_host_that_forks_with_parts_of_a_region", "copies-parts"),
        ("a_host_whose_fork_server_is_killed", "loses-server"),
        ("a_task_that_starts_processes", "nested"),
        ("a_host_that_has_no_descriptor_left", "few-descriptors"),
        ("a_host_without_standard_streams", "closed-streams"),
        ("a_host_that_may_write_small_files_only", "small-files"),
        ("a_host_that_adopts_orphans", "adopts-orphans"),
        ("a_host_that_keeps_finished_handles", "keeps-handles"),
        ("a_host_whose_waker_panics", "waker-panics"),
        (
            "a_pool_in_a_host_that_ignores_sigchld",
            "pool-ignores-sigchld",
        ),
        (
            "a_pool_in_a_host_that_reaps_everything",
            "pool-reaps-everything",
        ),
        ("a_pool_that_is_left_by_exit", "pool-left-by-exit"),
        ("a_pool_in_a_host_that_forks_itself", "pool-forks"),
        (
            "a_pool_in_a_host_without_descriptors",
            "pool-few-descriptors",
        ),
        ("pools_that_leave_nothing_behind", "pool-leaves-nothing"),
        ("maps_that_take_no_more_memory", "pool-memory-is-flat"),
    ] {
        all.push(trial(test, move || {
            well_behaved(name, &[]);
        }));
    }
    all.push(trial("a_host_that_ends_before_its_fork", || {
        let (out, err) = well_behaved_lines("copies-locks-and-ends");
        assert!(out.contains("told"), "{out}{err}");
    }));
    all.extend(crate::bare::trials());
    all.extend(crate::denied_calls::trials());
    all.extend(crate::execs::trials());
    all.extend(crate::idle::trials());
    all.extend(crate::orphans::trials());
    all.extend(crate::out_of_memory::trials());
    all.extend(crate::users::trials());
    all.extend(crate::outer_proc::trials());
    all.extend(crate::privileges::trials());
    all.extend(crate::secure::trials());
    all.extend(crate::small_limits::trials());
    all.extend(crate::streams::trials());
    all.extend(crate::early_threads::trials());
    all.extend(crate::interpreters::trials());
    all.extend(crate::libraries::trials());
    all.extend(crate::locals::trials());
    all.extend(crate::memory::trials());
    all.extend(crate::panics::trials());
    all
}

pub(crate) fn trial(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || -> Result<(), Failed> {
        test();
        Ok(())
    })
}

/// The pipe is another user's, so that it can be written to and not opened; who reads it takes what
/// fits a page now and then.
fn read_slowly_by_another_user() {
    const NOBODY: u32 = 65534;
    let is_root = rustix::process::geteuid().is_root();
    let can_be_executed = || host("idle").uid(NOBODY).output();
    if !is_root || !can_be_executed().is_ok_and(|o| o.status.success()) {
        eprintln!("skipped, because it takes root, and a program that user {NOBODY} can execute");
        return;
    }
    // Who reads nothing for 50 ms, or takes more than a second for it all, does not get it all: a
    // machine that has much else to do may keep this program from reading for so long.
    const ATTEMPTS: u32 = 20;
    for _ in 0..ATTEMPTS {
        let mut quits = host("quits-after-much");
        quits.uid(NOBODY).stderr(Stdio::piped());
        let mut quits = Guard(quits.spawn().expect("starts"));
        let mut stderr = quits.0.stderr.take().expect("piped");
        let (mut text, mut page) = (Vec::new(), [0; 4096]);
        let begun = Instant::now();
        let (mut last, mut longest) = (begun, Duration::ZERO);
        loop {
            match stderr.read(&mut page).expect("reads") {
                0 => break,
                read => text.extend_from_slice(&page[..read]),
            }
            // The first comes when the program has started.
            if text.len() > page.len() {
                longest = longest.max(last.elapsed());
            }
            last = Instant::now();
            wait::pause(Duration::from_millis(5));
        }
        assert!(quits.0.wait().expect("ends").success());
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().count();
        if lines == 3000 {
            let last = text.lines().last().unwrap_or_default();
            assert!(last.starts_with("line 2999 "), "{last}");
            return;
        }
        let was_slow = longest > Duration::from_millis(30) || begun.elapsed().as_millis() > 900;
        assert!(was_slow, "{lines} lines, the longest pause {longest:?}");
    }
    panic!("this machine has too much to do for this test");
}

fn well_behaved_lines(name: &str) -> (String, String) {
    let output = well_behaved(name, &[]);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr))
}

fn stray_marker() {
    const MARKER: &str = concat!("BRIGADE_FORK_SERVER_", env!("CARGO_PKG_VERSION"));
    for value in ["", "7", "0", "999999", "x"] {
        let output = host("idle").env(MARKER, value).output().expect("starts");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{value:?}: {output:?}"
        );
        assert!(err.contains("BRIGADE_FORK_SERVER"), "{err}");
    }
}

fn replaced(more: &[&str]) {
    let copy = std::env::temp_dir().join(format!(
        "brigade-replaced-{}-{}",
        std::process::id(),
        more.len()
    ));
    // By another process: a file that this one had open to write would be busy as a program while a
    // child of another test, just forked, has it too.
    let exe = std::env::current_exe().expect("this program");
    let copied = std::process::Command::new("/bin/cp")
        .arg(exe)
        .arg(&copy)
        .status()
        .expect("cp starts");
    assert!(copied.success());
    let output = std::process::Command::new(&copy)
        .args(["--host", "replaced"])
        .arg(&copy)
        .args(more)
        .output();
    std::fs::remove_file(&copy).expect("removed");
    check("replaced", output.expect("starts"));
}

/// A host, its fork server, its workers, and their children and daemons, all alive.
pub(crate) struct Family {
    pub(crate) host: Guard,
    stdout: std::io::Lines<BufReader<std::process::ChildStdout>>,
    pub(crate) server: Watched,
    pub(crate) workers: Vec<Watched>,
    pub(crate) children: Vec<Watched>,
}

impl Family {
    pub(crate) fn new(name: &str) -> Family {
        let mut host = Guard(
            host(name)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("starts"),
        );
        let mut stdout = BufReader::new(host.0.stdout.take().expect("piped")).lines();
        let (mut workers, mut children) = (Vec::new(), Vec::new());
        while workers.len() < 2 {
            let line = stdout.next().expect("it goes on").expect("text");
            if let Some(numbers) = line.strip_prefix("pids ") {
                let mut pids = numbers
                    .split(' ')
                    .map(|n| Watched::new(n.parse().expect("a number")).expect("it is alive"));
                workers.extend(pids.next());
                children.extend(pids);
            }
        }
        let server = procfs::parent(workers[0].pid).expect("the worker has a parent");
        Family {
            host,
            stdout,
            server: Watched::new(server).expect("it is alive"),
            workers,
            children,
        }
    }
}

pub(crate) fn family_ends(name: &str, end: impl FnOnce(&mut Guard)) {
    let mut family = Family::new(name);
    end(&mut family.host);
    for process in family
        .workers
        .iter()
        .chain(&family.children)
        .chain([&family.server])
    {
        assert!(
            process.ends_within(HANG),
            "process {} is still alive",
            process.pid
        );
    }
    // The pipe's end comes when nobody has it open any more: nobody is left.
    assert_eq!(family.stdout.by_ref().count(), 0);
}
