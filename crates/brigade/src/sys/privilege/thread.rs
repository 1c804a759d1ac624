//! What /proc tells of the calling thread.

use std::cell::Cell;
use std::ffi::CStr;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::OFlags;

use crate::sys::error::Call;
use crate::sys::opened;
use crate::sys::original::Original;

/// The namespaces that a thread of a program with several can change, in /proc/thread-self. The
/// root directory shows the mount namespace; the user, pid and time namespaces are what they were
/// when the program was started: setns(2), unshare(2).
pub(super) const NAMESPACES: [&CStr; 4] = [c"ns/cgroup", c"ns/ipc", c"ns/net", c"ns/uts"];

/// Where /proc tells of a thread.
pub(super) struct ProcThread {
    directory: OwnedFd,
    status: OwnedFd,
    /// Which thread `status` tells of; 0: it was not read yet.
    number: Cell<u64>,
    /// The thread's namespaces, where it has no way into others any more.
    settled: Cell<Option<Namespaces>>,
}

/// In the order of [`NAMESPACES`].
type Namespaces = [u64; NAMESPACES.len()];

thread_local! {
    /// This thread's, once it has asked.
    static KEPT: Cell<Option<KeptThread>> = const { Cell::new(None) };
}

/// Threads that keep theirs.
static KEEPING: AtomicU32 = AtomicU32::new(0);

/// As many as may: a program may have hundreds of threads, and few descriptors.
const KEEPING_MAX: u32 = 16;

/// A thread's own, open until the thread ends: to open it takes longer than to look, and each spawn
/// of a process looks.
pub(super) struct KeptThread {
    thread: Option<ProcThread>,
    by: Original,
}

impl KeptThread {
    pub(super) fn look<R>(look: impl Fn(&ProcThread) -> io::Result<R>) -> io::Result<R> {
        // A thread that ends has none any more; a fork of the process has its parent's.
        let kept = KEPT.try_with(Cell::take).ok().flatten();
        let mut kept = kept.filter(|kept| kept.by.is_this_process());
        let thread = kept.as_ref().and_then(|kept| kept.thread.as_ref());
        if let Some(looked) = thread.and_then(|thread| look(thread).ok()) {
            let _ = KEPT.try_with(|own| own.set(kept));
            return Ok(looked);
        }
        // The program has closed what is not its own, and may have others under these numbers.
        ProcThread::leave_open(kept.as_mut().and_then(|kept| kept.thread.take()));
        let thread = ProcThread::this()?;
        let looked = look(&thread);
        KeptThread::keep(thread);
        looked
    }

    fn keep(thread: ProcThread) {
        if KEEPING.fetch_add(1, Ordering::Relaxed) >= KEEPING_MAX {
            KEEPING.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let kept = KeptThread {
            thread: Some(thread),
            by: Original::this_process(),
        };
        let _ = KEPT.try_with(|own| own.set(Some(kept)));
    }
}

impl Drop for KeptThread {
    fn drop(&mut self) {
        KEEPING.fetch_sub(1, Ordering::Relaxed);
        if !self.by.is_this_process() {
            // A fork may have closed all that it had, and have others under these numbers.
            ProcThread::leave_open(self.thread.take());
        }
    }
}

impl ProcThread {
    /// The calling thread.
    pub(super) fn this() -> io::Result<ProcThread> {
        const WHY: &str = "compare what a process may do with what this thread may";
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = opened::file("/proc/thread-self", flags).needed_to(WHY)?;
        let status = opened::file_at(&directory, "status", OFlags::RDONLY).needed_to(WHY)?;
        Ok(ProcThread {
            directory,
            status,
            number: Cell::new(0),
            settled: Cell::new(None),
        })
    }

    fn leave_open(thread: Option<ProcThread>) {
        if let Some(ProcThread {
            directory, status, ..
        }) = thread
        {
            let _ = (directory.into_raw_fd(), status.into_raw_fd());
        }
    }

    /// What `status` says, as `parse` reads it, with the thread's number. An error, if it is not
    /// that of the thread of which it was before: the program has closed the descriptor, and
    /// another thread has its own under this number.
    pub(super) fn own_status<R>(&self, parse: impl Fn(&[u8]) -> Option<(u64, R)>) -> io::Result<R> {
        let (number, parsed) = self.status(|text| {
            parse(text).ok_or_else(|| {
                io::Error::other("/proc/thread-self/status has an unexpected format")
            })
        })?;
        let before = self.number.replace(number);
        if before != 0 && before != number {
            return Err(io::Error::other("/proc/thread-self/status is another's"));
        }
        Ok(parsed)
    }

    /// Calls `look` with the text of `status`.
    fn status<R>(&self, look: impl Fn(&[u8]) -> io::Result<R>) -> io::Result<R> {
        let mut text = vec![0; 4096];
        let mut len = 0;
        loop {
            let into = &mut text[len..];
            let got = rustix::io::retry_on_intr(|| {
                rustix::io::pread(&self.status, &mut *into, len as u64)
            })
            .call("pread(2)")?;
            len += got;
            if got == 0 || len < text.len() {
                return look(&text[..len]);
            }
            // Thousands of groups.
            text.resize(2 * len, 0);
        }
    }

    /// The number of the namespace that this link names; 0: the kernel was built without.
    pub(super) fn namespace(&self, link: &CStr) -> io::Result<u64> {
        let mut text = [std::mem::MaybeUninit::uninit(); 64];
        match rustix::fs::readlinkat_raw(&self.directory, link, &mut text[..]) {
            // `name:[number]`
            Ok((text, _)) => {
                let number = std::str::from_utf8(text).ok();
                let number = number.and_then(|text| text.split_once('[')?.1.strip_suffix(']'));
                number
                    .and_then(|digits| digits.parse().ok())
                    .ok_or_else(|| io::ErrorKind::InvalidData.into())
            }
            Err(rustix::io::Errno::NOENT) => Ok(0),
            Err(e) => Err(e).call("readlink(2)"),
        }
    }

    /// Looked up once, where the thread is `settled` in them: to look takes longer than to read its
    /// status.
    pub(super) fn namespaces(&self, settled: bool) -> io::Result<Namespaces> {
        if let Some(known) = self.settled.get().filter(|_| settled) {
            return Ok(known);
        }
        let mut all = [0; NAMESPACES.len()];
        for (number, name) in all.iter_mut().zip(NAMESPACES) {
            *number = self.namespace(name)?;
        }
        self.settled.set(settled.then_some(all));
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sys::privilege::Privilege;

    #[test]
    fn what_a_thread_keeps_open_is_its_own_and_ends_with_it() {
        let here = Privilege::of_this_thread().expect("/proc is mounted");
        let pid = |text: &[u8]| {
            let text = String::from_utf8_lossy(text);
            let line = text.lines().find_map(|line| line.strip_prefix("Pid:"));
            Ok(line.and_then(|number| number.trim().parse().ok()))
        };
        let look = || {
            assert!(here.is_that_of_this_thread().expect("is readable"));
            assert!(here.is_that_of_this_thread().expect("is readable"));
            let own = rustix::thread::gettid().as_raw_nonzero().get();
            match KEPT.take() {
                Some(kept) => {
                    let thread = kept.thread.as_ref().expect("nothing has taken it");
                    assert_eq!(thread.status(pid).expect("is readable"), Some(own));
                    true
                }
                // Other tests' threads may keep as many as may.
                None => false,
            }
        };
        // Each gives its place back, or only the first few would have one.
        let has_one = || std::thread::scope(|s| s.spawn(look).join().expect("it is its own"));
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut kept = 0;
        while kept < 3 * KEEPING_MAX {
            kept += u32::from(has_one());
            assert!(Instant::now() < deadline, "{kept} threads kept theirs");
        }
    }

    /// The program closes what is not its own, and another thread opens its own under the numbers.
    #[test]
    fn what_a_thread_keeps_open_is_not_taken_for_anothers() {
        let number = || u64::from(crate::sys::process::thread_number());
        let tells_of = |thread: &ProcThread| {
            let told = thread.own_status(crate::sys::privilege::parse);
            told.map(|_| thread.number.get())
        };
        let replaced = |others: &OwnedFd| {
            assert_eq!(KeptThread::look(tells_of).expect("is readable"), number());
            let mut kept = KEPT.take()?;
            let own = &mut kept.thread.as_mut().expect("nothing has taken it").status;
            rustix::io::dup2(others, own).expect("replaced");
            KEPT.set(Some(kept));
            assert_eq!(KeptThread::look(tells_of).expect("is readable"), number());
            Some(())
        };
        let others = ProcThread::this().expect("/proc is mounted").status;
        let deadline = Instant::now() + Duration::from_secs(30);
        let one = || std::thread::scope(|s| s.spawn(|| replaced(&others)).join().expect("its own"));
        // Other tests' threads may keep as many as may.
        while one().is_none() {
            assert!(Instant::now() < deadline);
        }
    }
}
