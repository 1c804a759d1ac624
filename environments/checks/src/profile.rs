//! The files of a program that was built with `-C instrument-coverage`, whose `LLVM_PROFILE_FILE`
//! begins with `%p-`, in a directory of its own.

use std::path::Path;

use brigade::{Kind, Pool};

use crate::Outcome;

/// Each worker has written one when its task has ended, however the worker ends.
pub(crate) fn written() -> Outcome {
    let pattern = std::env::var_os("LLVM_PROFILE_FILE").ok_or("LLVM_PROFILE_FILE is not set")?;
    let directory = Path::new(&pattern).parent().ok_or("it is no path")?;
    let pid = |()| std::process::id();
    let text = |e: &dyn std::fmt::Display| e.to_string();

    let single = Kind::Process.spawn(pid, ()).map_err(|e| text(&e))?;
    expect(directory, "a process", single.join().map_err(|e| text(&e))?)?;

    let pool = Pool::processes(2).map_err(|e| text(&e))?;
    for _ in 0..3 {
        let ran = pool.submit(pid, ()).join().map_err(|e| text(&e))?;
        expect(directory, "a pool's worker", ran)?;
    }
    let mapped: Result<Vec<u32>, _> = pool.map(pid, (0..100).map(drop)).collect();
    drop(pool);
    for ran in mapped.map_err(|e| text(&e))? {
        expect(directory, "a worker of a pool that has ended", ran)?;
    }

    let pool = Pool::builder(Kind::Process).workers(1).recycle_after(2);
    let pool = pool.build().map_err(|e| text(&e))?;
    let mapped: Result<Vec<u32>, _> = pool.map(pid, (0..10).map(drop)).collect();
    drop(pool);
    for ran in mapped.map_err(|e| text(&e))? {
        expect(directory, "a worker that was replaced", ran)?;
    }
    Ok(())
}

fn expect(directory: &Path, what: &str, pid: u32) -> Outcome {
    let begin = format!("{pid}-");
    let files = std::fs::read_dir(directory).map_err(|e| e.to_string())?;
    let found = files.flatten().any(|file| {
        let name = file.file_name();
        let is_its = name.to_string_lossy().starts_with(&begin);
        is_its && file.metadata().is_ok_and(|data| data.len() > 0)
    });
    found
        .then_some(())
        .ok_or_else(|| format!("{what} ({pid}) has written none"))
}
