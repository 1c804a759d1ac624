//! The parity table: one task, two kinds. Each row runs for both, and in a pool of each where a
//! pool promises the same; where a cell differs, that is tested too.

mod attributes;
mod ends;
mod futures;
mod handles;
mod kinds;
mod options;
mod scopes;
mod shared;
mod size;
mod task_errors;
mod values;
mod writable;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use brigade::{JoinHandle, Kind, Message, Pool};

/// Runs a row for threads and for processes.
fn both(row: impl Fn(Kind)) {
    brigade::init();
    // `scripts/portable` looks at threads only.
    let only = std::env::var("BRIGADE_TEST_KIND").ok();
    let asked = |kind: &Kind| only.as_ref().is_none_or(|only| *only == kind.to_string());
    for kind in Kind::ALL.into_iter().filter(asked) {
        eprintln!("as a {kind}:");
        row(kind);
    }
}

/// What starts tasks: a worker for each, or the workers of a pool.
enum Starter {
    Fresh(Kind),
    Pooled(Pool),
}

impl Starter {
    fn kind(&self) -> Kind {
        match self {
            Starter::Fresh(kind) => *kind,
            Starter::Pooled(pool) => pool.kind(),
        }
    }

    fn start<A: Message, R: Message>(&self, task: fn(A) -> R, input: A) -> JoinHandle<R> {
        match self {
            Starter::Fresh(kind) => kind.spawn(task, input).expect("starts"),
            Starter::Pooled(pool) => pool.submit(task, input),
        }
    }
}

/// Runs a row in fresh threads, in a pool of threads, in fresh processes, and in a pool of
/// processes.
fn each_way(row: impl Fn(&Starter)) {
    both(|kind| {
        row(&Starter::Fresh(kind));
        eprintln!("in a pool:");
        row(&Starter::Pooled(Pool::new(kind, 2).expect("a pool")));
    });
}

/// A named pipe, removed at the end: how a task, of either kind, tells the test that it has come to
/// a point, and waits there.
struct Fifo(PathBuf);

impl Fifo {
    fn new() -> Fifo {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "brigade-contract-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
            .expect("a named pipe");
        Fifo(path)
    }

    fn path(&self) -> PathBuf {
        self.0.clone()
    }

    /// Waits until the other side has opened, written and closed.
    fn hear(&self) -> String {
        std::fs::read_to_string(&self.0).expect("the task writes")
    }

    fn tell(&self, text: &str) {
        std::fs::write(&self.0, text).expect("the task reads");
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
