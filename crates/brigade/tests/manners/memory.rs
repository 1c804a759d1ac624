//! Where memory runs out, the kernel kills the task's process, and not the program.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use brigade::process::Builder;
use brigade::{Cause, JoinError, Kind, Pool, process};
use libtest_mimic::Trial;

use crate::hosts::{Host, double};
use crate::observe::{check, host, well_behaved};
use crate::secure::skip;
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] =
    &[("hungry", hungry), ("scores", scores), ("limited", limited)];

const MIB: usize = 1 << 20;

type Done = Result<(), Box<dyn std::error::Error>>;

pub(crate) fn trials() -> Vec<Trial> {
    let mut all: Vec<_> = [40, 54]
        .map(|mib| {
            let name = format!("a_host_with_{mib}_of_64_MiB_outlives_its_tasks");
            trial(&name, move || {
                let Some(group) = Group::new(64 * MIB) else {
                    return skip("no control group with a limit of memory can be made here");
                };
                let mut host = host("hungry");
                host.arg(mib.to_string());
                check("hungry", group.run(host));
            })
        })
        .into();
    all.push(trial("workers_have_a_higher_oom_score_adj", || {
        well_behaved("scores", &[]);
    }));
    all.push(trial(
        "a_limited_fork_server_is_not_killed_before_workers",
        || {
            let Some(group) = Group::new(256 * MIB) else {
                return skip("no control group with a limit of memory can be made here");
            };
            check("limited", group.run(host("limited")));
        },
    ));
    all
}

/// A control group of our own, removed at the end.
struct Group(PathBuf);

impl Group {
    /// `None`: there can be none.
    fn new(limit: usize) -> Option<Group> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let ours = fs::read_to_string("/proc/self/cgroup").ok()?;
        let v1 = ours.lines().find_map(|l| l.split_once(":memory:"));
        let (mount, path, file) = match v1 {
            Some((_, path)) => ("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"),
            None => {
                let path = ours.lines().find_map(|l| l.strip_prefix("0::"))?;
                ("/sys/fs/cgroup", path, "memory.max")
            }
        };
        let name = format!("brigade-test-{}-{number}", std::process::id());
        let group = Group(Path::new(mount).join(path.trim_matches('/')).join(name));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join(file), limit.to_string()).ok()?;
        Some(group)
    }

    fn run(&self, mut command: std::process::Command) -> std::process::Output {
        let members = self.0.join("cgroup.procs");
        // SAFETY: a file is written, by a child that has one thread.
        unsafe {
            command.pre_exec(move || fs::write(&members, "0"));
        }
        command.output().expect("starts")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last of its processes may not be reaped yet.
        let limit = std::time::Instant::now() + crate::observe::HANG;
        while fs::remove_dir(&self.0).is_err_and(|e| e.raw_os_error() == Some(libc::EBUSY))
            && std::time::Instant::now() < limit
        {
            std::thread::yield_now();
        }
    }
}

fn hungry(args: &[String]) -> Done {
    fn eat(bytes: usize) -> usize {
        std::hint::black_box(vec![1_u8; bytes]).len()
    }
    brigade::init();
    let own: usize = args.first().ok_or("how much it has")?.parse()?;
    let own = vec![1_u8; own * MIB];
    let pool = Pool::new(Kind::Process, 2)?;
    for turn in 0..3 {
        let single = process::spawn(eat, 200 * MIB)?.join();
        let pooled = pool.submit(eat, 200 * MIB).join();
        for ended in [single, pooled] {
            match ended {
                Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::OutOfMemory => {}
                other => return Err(format!("turn {turn}: {other:?}").into()),
            }
        }
        assert_eq!(pool.submit(double, turn).join()?, 2 * turn);
    }
    assert!(std::hint::black_box(own).iter().all(|&b| b == 1));
    Ok(())
}

/// Workers have the highest value, and the fork server its own, also while it forks.
fn limited(_: &[String]) -> Done {
    brigade::init();
    assert_eq!(process::spawn(score, ())?.join()?, "1000");
    let fork_server: u32 = process::spawn(parent, ())?.join()?;
    let file = format!("/proc/{fork_server}/oom_score_adj");
    let own = fs::read_to_string("/proc/self/oom_score_adj")?;
    let forking = std::thread::spawn(|| {
        for _ in 0..500 {
            let worker = process::spawn(score, ()).expect("a worker");
            assert_eq!(worker.join().expect("its value"), "1000");
        }
    });
    let mut seen = BTreeSet::new();
    while !forking.is_finished() {
        seen.insert(fs::read_to_string(&file)?);
    }
    forking.join().expect("all had the highest");
    assert_eq!(seen, BTreeSet::from([own]));
    Ok(())
}

fn parent(_: ()) -> u32 {
    std::os::unix::process::parent_id()
}

fn score(_: ()) -> String {
    let text = fs::read_to_string("/proc/self/oom_score_adj");
    text.map_or_else(|e| e.to_string(), |text| text.trim().to_owned())
}

fn scores(_: &[String]) -> Done {
    brigade::init();
    let pool = Pool::new(Kind::Process, 1)?;
    assert_eq!(process::spawn(score, ())?.join()?, "1000");
    assert_eq!(pool.submit(score, ()).join()?, "1000");

    let builder = Builder::new().oom_score_adj(999);
    assert_eq!(builder.spawn(score, ())?.join()?, "999");
    let pool = Pool::builder(Kind::Process).workers(1).process(builder);
    assert_eq!(pool.build()?.submit(score, ()).join()?, "999");
    let refused = Builder::new().oom_score_adj(1001).spawn(score, ());
    let refused = refused.err().ok_or("1001 is taken")?;
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    Ok(())
}
