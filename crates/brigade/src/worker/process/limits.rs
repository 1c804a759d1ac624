//! What a builder limits its workers to.

use std::time::Duration;

use super::Builder;

/// What a builder limits.
#[derive(Clone, Debug, Default)]
pub(super) struct AskedLimits {
    pub(super) memory: Option<u64>,
    pub(super) cpu: Option<Duration>,
    pub(super) open_files: Option<u64>,
    pub(super) file_size: Option<u64>,
    pub(super) processes: Option<u64>,
    pub(super) nice: Option<i32>,
    pub(super) processors: Vec<u32>,
}

impl Builder {
    /// The memory that it, with its children, may have, in bytes. Beyond it the kernel kills it:
    /// [`Cause::OutOfMemory`](crate::Cause::OutOfMemory).
    ///
    /// By a control group, where the program may make any. Elsewhere it is a limit of the address
    /// space that each process may take beyond what it began with (setrlimit(2), `RLIMIT_AS`),
    /// where an allocation fails that is over it; and what the worker has with its children,
    /// without files in memory, is looked at every 20 to 320 ms. Which of them,
    /// [`limited_by`](super::limited_by) tells.
    ///
    /// *Default: no limit of its own.*
    pub fn memory_limit(mut self, bytes: u64) -> Builder {
        self.limits.get_or_insert_default().memory = Some(bytes);
        self
    }

    /// The processor time that the task may use, of all its threads together; in a pool, each task,
    /// and the initializer.
    /// Beyond it the worker is ended: [`Cause::CpuLimit`](crate::Cause::CpuLimit). Time in which it
    /// waits does not count; for that there is [`timeout`](crate::PoolBuilder::timeout).
    ///
    /// timer_create(2), `CLOCK_PROCESS_CPUTIME_ID`. A hostile task can take the limit off; a
    /// timeout it cannot.
    ///
    /// *Default: no limit.*
    pub fn cpu_limit(mut self, time: Duration) -> Builder {
        self.limits.get_or_insert_default().cpu = Some(time);
        self
    }

    /// How many descriptors it may have open; some ten are the library's. Beyond it calls fail with
    /// `EMFILE`. setrlimit(2), `RLIMIT_NOFILE`.
    ///
    /// *Default: the program's limit.*
    pub fn open_files_limit(mut self, count: u64) -> Builder {
        self.limits.get_or_insert_default().open_files = Some(count);
        self
    }

    /// How many processes and threads it, with its children, may be. Beyond it no other can be
    /// made: `EAGAIN`.
    ///
    /// By a control group, where the program may make any. Elsewhere those of its user in the whole
    /// machine are counted (setrlimit(2), `RLIMIT_NPROC`); for root's there is no such limit, and
    /// no worker is started.
    ///
    /// *Default: no limit of its own.*
    pub fn processes_limit(mut self, count: u64) -> Builder {
        self.limits.get_or_insert_default().processes = Some(count);
        self
    }

    /// How long a file may become that it writes, in bytes; files in memory too, which are what
    /// large results and shared memory are. Beyond it calls fail with `EFBIG`. setrlimit(2),
    /// `RLIMIT_FSIZE`.
    ///
    /// *Default: the program's limit.*
    pub fn file_size_limit(mut self, bytes: u64) -> Builder {
        self.limits.get_or_insert_default().file_size = Some(bytes);
        self
    }

    /// The process's nice value, from -20 (first) to 19 (last). One below the program's takes
    /// CAP_SYS_NICE. setpriority(2).
    ///
    /// *Default: the program's.*
    pub fn nice(mut self, value: i32) -> Builder {
        self.limits.get_or_insert_default().nice = Some(value);
        self
    }

    /// The processors that it may run on, by number. sched_setaffinity(2).
    ///
    /// *Default: those of the program.*
    pub fn cpu_affinity(mut self, processors: impl IntoIterator<Item = u32>) -> Builder {
        self.limits.get_or_insert_default().processors = processors.into_iter().collect();
        self
    }
}
