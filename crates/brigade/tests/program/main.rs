//! Workers of a named program: found by a path, called by name.
//!
//! The program is this one, which exports tasks as any other would, or a copy of its file. It never
//! comes as far as `main`, so that it does not matter that no test calls `brigade::init`.

#![forbid(unsafe_code)]

mod files;
mod lookup;
mod pools;
mod runs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brigade::process::Program;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Sized { width: u32, height: u32 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    kind: Kind,
    notes: BTreeMap<String, Vec<String>>,
}

fn add((a, b): (u64, u64)) -> u64 {
    a + b
}

fn process_of((): ()) -> u32 {
    std::process::id()
}

brigade::export!("add", add);
brigade::export!("double", |n: u32| 2 * n);
brigade::export!("echo", |order: Order| order);
brigade::export!("large", |bytes: Vec<u8>| bytes);
brigade::export!("process", process_of);
brigade::export!("server", |()| std::os::unix::process::parent_id());
brigade::export!("arguments", |()| std::env::args().collect::<Vec<String>>());
brigade::export!("variable", |name: String| std::env::var(name).ok());
brigade::export!("panic", |why: String| -> u32 { panic!("{why}") });
brigade::export!("abort", |()| -> u32 { std::process::abort() });
brigade::export!("hang", |()| -> u32 {
    loop {
        std::thread::park();
    }
});
brigade::export!("twice", |n: u8| n);
brigade::export!("twice", |n: u8| n + 1);

fn this_file() -> PathBuf {
    std::env::current_exe().expect("this program")
}

fn this_program() -> Program {
    Program::open(this_file()).expect("a program with Brigade in it")
}

/// A copy of this program, which is removed with it.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str) -> Copy {
        let dir =
            std::env::temp_dir().join(format!("brigade-program-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let copy = Copy(dir.join("program"));
        std::fs::copy(this_file(), copy.path()).expect("copied");
        copy
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().expect("a directory"));
    }
}
