//! A program that has pools, and nothing for them to do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use brigade::{Kind, Pool};

use libtest_mimic::Trial;

use crate::hosts::{Host, double};
use crate::observe::well_behaved;
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] = &[("idle-pools", idle_pools)];

/// After their last task: longer than the listener's last look, which is 100 ms later.
const QUIET: Duration = Duration::from_millis(300);
/// For so long nothing happens then. The watch over the fork server would look once a second.
const IDLE: Duration = Duration::from_millis(1500);

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "nobody_is_woken_while_there_is_nothing_to_do",
        || {
            well_behaved("idle-pools", &[]);
        },
    )]
}

fn idle_pools(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    for timeout in [None, Some(Duration::from_secs(60))] {
        let builder = |kind| {
            let builder = Pool::builder(kind).workers(2);
            match timeout {
                None => builder,
                Some(timeout) => builder.timeout(timeout),
            }
        };
        let threads = builder(Kind::Thread).build()?;
        let pool = builder(Kind::Process).build()?;
        for pool in [&threads, &pool] {
            for n in 0..100 {
                assert_eq!(pool.submit(double, n).join()?, 2 * n);
            }
        }
        let server = pool.submit(|()| std::os::unix::process::parent_id(), ());
        let server = server.join()?;
        let before = until_quiet(server)?;
        rest(IDLE);
        assert_eq!(sleeps(server)?, before, "{timeout:?}: nobody woke");
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "that nothing happens is what is looked for"
)]
fn rest(for_so_long: Duration) {
    std::thread::sleep(for_so_long);
}

/// Until nobody has woken for a while.
fn until_quiet(server: u32) -> std::io::Result<BTreeMap<String, String>> {
    let limit = Instant::now() + Duration::from_secs(20);
    let mut before = sleeps(server)?;
    loop {
        rest(QUIET);
        let now = sleeps(server)?;
        if now == before {
            return Ok(now);
        }
        assert!(Instant::now() < limit, "never quiet: {before:?}, {now:?}");
        before = now;
    }
}

/// How often each thread of the library's has gone to sleep: of the fork server, its workers, and
/// this program but for the thread that asks. voluntary_ctxt_switches: proc(5).
fn sleeps(server: u32) -> std::io::Result<BTreeMap<String, String>> {
    let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children"))?;
    let mut processes: Vec<&str> = children.split_whitespace().collect();
    let server = server.to_string();
    processes.extend([server.as_str(), "self"]);
    let own = std::process::id().to_string();
    let mut sleeps = BTreeMap::new();
    for process in processes {
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let thread = thread?.path();
            if thread.ends_with(&own) {
                continue;
            }
            let status = std::fs::read_to_string(thread.join("status"))?;
            let count = (status.lines()).find(|line| line.starts_with("voluntary_ctxt_switches"));
            let count = count.unwrap_or_default().to_owned();
            sleeps.insert(thread.display().to_string(), count);
        }
    }
    Ok(sleeps)
}
