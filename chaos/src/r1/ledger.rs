//! How often each task was begun: one counter a task, in memory that the program and all its
//! workers see.
//!
//! It is no [`brigade::Shared`], which every input would have to bring along as a descriptor: then
//! none would be the plain input that a pool is quickest with. The workers' initializer maps it,
//! from where proc(5) shows the program's descriptor.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};

/// The variable of a worker's environment that says where the ledger is.
pub(super) const VARIABLE: &str = "BRIGADE_CHAOS_LEDGER";

/// The counters. They stay mapped as long as the process lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ledger(&'static [AtomicU32]);

impl Ledger {
    /// For so many tasks, all at 0. Gives also what [`VARIABLE`] must be, which is true as long as
    /// the file is open.
    pub(super) fn new(tasks: usize) -> io::Result<(Ledger, File, String)> {
        let file = File::from(memfd_create("chaos-ledger", MemfdFlags::CLOEXEC)?);
        ftruncate(&file, (tasks * size_of::<AtomicU32>()) as u64)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        Ok((Ledger::map(&file)?, file, path))
    }

    fn map(file: &File) -> io::Result<Ledger> {
        let bytes = file.metadata()?.len() as usize;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping; all of it is in the file, whose length nobody changes; zeros and
        // whatever is added are counters; it is never unmapped.
        let counters = unsafe {
            let at = mmap(
                std::ptr::null_mut(),
                bytes,
                access,
                MapFlags::SHARED,
                file,
                0,
            )?;
            std::slice::from_raw_parts(at.cast(), bytes / size_of::<AtomicU32>())
        };
        Ok(Ledger(counters))
    }

    /// How often a task was begun.
    pub(super) fn runs(self, task: u32) -> u32 {
        self.0[task as usize].load(SeqCst)
    }
}

/// This worker's.
static HERE: OnceLock<Ledger> = OnceLock::new();

/// What every worker does first.
pub(super) fn open() {
    let path = std::env::var(VARIABLE).expect("the pool's processes have it");
    let file = OpenOptions::new().read(true).write(true).open(path);
    let ledger = Ledger::map(&file.expect("the program keeps it open")).expect("mapped");
    HERE.set(ledger).expect("once");
}

/// In a worker: this task begins.
pub(super) fn note(task: u32) {
    let ledger = HERE.get().expect("opened before the first task");
    ledger.0[task as usize].fetch_add(1, SeqCst);
}
