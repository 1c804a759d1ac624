//! Telling a process from its forks, without a system call: madvise(2), `MADV_WIPEONFORK`.

use std::sync::atomic::{AtomicU32, Ordering};

/// The process that made this, and no fork of it.
#[derive(Debug)]
pub(crate) struct Original {
    /// In a page that is all zero in a forked child. `None`: the kernel would not, and its number has to be asked for.
    mark: Option<&'static AtomicU32>,
    pid: u32,
}

impl Original {
    pub(crate) fn this_process() -> Original {
        Original {
            mark: page(),
            pid: std::process::id(),
        }
    }

    /// Whether that is the process that asks.
    pub(crate) fn is_this_process(&self) -> bool {
        match self.mark {
            Some(mark) => mark.load(Ordering::Relaxed) != 0,
            None => self.pid == std::process::id(),
        }
    }
}

/// One page for all that this process makes: they say the same. A fork of it gets its own.
fn page() -> Option<&'static AtomicU32> {
    static PAGE: std::sync::Mutex<Option<&'static AtomicU32>> = std::sync::Mutex::new(None);
    let mut page = PAGE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(mark) = page.filter(|m| m.load(Ordering::Relaxed) != 0) {
        return Some(mark);
    }
    let len = rustix::param::page_size();
    // SAFETY: the kernel chooses a range that was free; it is never unmapped, so the reference is good for ever. All zero is a valid atomic.
    let mark = unsafe {
        let at = rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            len,
            rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
            rustix::mm::MapFlags::PRIVATE,
        )
        .ok()?;
        if libc::madvise(at, len, libc::MADV_WIPEONFORK) == -1 {
            let _ = rustix::mm::munmap(at, len);
            return None;
        }
        &*at.cast::<AtomicU32>()
    };
    mark.store(1, Ordering::Relaxed);
    *page = Some(mark);
    Some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_itself() {
        let original = Original::this_process();
        assert!(original.is_this_process());
        assert!(original.mark.is_some(), "Linux 4.14 has it");
    }
}
