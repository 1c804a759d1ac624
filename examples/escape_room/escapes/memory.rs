//! Memory of other processes, what they have open, and memory that has a name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicU64;

use brigade::sandbox::Effect::Memory;

use super::{Escape, Outside, call};

/// A word that every copy of this program has.
static OWN: AtomicU64 = AtomicU64::new(42);

pub(super) const ESCAPES: &[Escape] = &[
    Escape::new(Memory, "read the program's memory", |o| transfer(o, true)),
    Escape::new(Memory, "write to the program's memory", |o| {
        transfer(o, false)
    }),
    Escape::new(Memory, "read the program's memory by its file", |o| {
        let mut word = [0; 8];
        File::open(format!("/proc/{}/mem", o.host))?.read_exact_at(&mut word, o.secret as u64)
    }),
    Escape::new(Memory, "read a sibling's memory", |o| {
        // A copy of the same fork server's: its memory lies where this one's does.
        let own = Outside {
            host: o.sibling,
            secret: (&raw const OWN) as usize,
            ..o.clone()
        };
        transfer(&own, true)
    }),
    Escape::new(Memory, "write to its own memory by its file", |_| {
        File::options().write(true).open("/proc/self/mem").map(drop)
    }),
    Escape::new(Memory, "have its parent trace it", |_| {
        call!(SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0).map(drop)
    }),
    Escape::new(Memory, "where the program's locks are", |o| {
        let (mut head, mut len) = (0_usize, 0_usize);
        call!(SYS_get_robust_list, o.host, &raw mut head, &raw mut len).map(drop)
    }),
    Escape::new(Memory, "move the program's memory", |o| {
        let none = std::ptr::null::<u8>();
        call!(SYS_move_pages, o.host, 0, none, none, none, 0).map(drop)
    })
    .privileged(),
    Escape::new(Memory, "advice about a sibling's memory", |o| {
        let process = call!(SYS_pidfd_open, o.sibling, 0)?;
        let none = std::ptr::null::<u8>();
        call!(SYS_process_madvise, process, none, 0, libc::MADV_COLD, 0).map(drop)
    })
    .privileged(),
    Escape::new(Memory, "memory that the kernel does not see", |_| {
        /// memfd_secret(2).
        const MEMFD_SECRET: libc::c_long = 447;
        // SAFETY: a number.
        super::said(unsafe { libc::syscall(MEMFD_SECRET, 0) }).map(drop)
    })
    .privileged(),
    Escape::new(Memory, "a queue of reads and writes", |_| {
        let mut context = 0_usize;
        call!(SYS_io_setup, 1, &raw mut context).map(drop)
    })
    .privileged(),
    Escape::new(Memory, "the kernel's log", |_| {
        const SIZE: i32 = 10;
        let none = std::ptr::null::<u8>();
        call!(SYS_syslog, SIZE, none, 0).map(drop)
    })
    .privileged(),
    #[cfg(target_arch = "x86_64")]
    Escape::new(Memory, "ports of the machine", |_| {
        call!(SYS_iopl, 0).map(drop)
    })
    .privileged(),
    #[cfg(target_arch = "x86_64")]
    Escape::new(Memory, "a table of segments", |_| {
        let mut table = [0_u64; 8];
        let len = size_of_val(&table);
        call!(SYS_modify_ldt, 0, table.as_mut_ptr(), len).map(drop)
    })
    .privileged(),
    Escape::new(Memory, "trace a sibling", |o| {
        const SEIZE: i32 = 0x4206;
        call!(SYS_ptrace, SEIZE, o.sibling, 0, 0).map(drop)
    }),
    Escape::new(Memory, "have a descriptor of the program", |o| {
        let process = call!(SYS_pidfd_open, o.host, 0)?;
        call!(SYS_pidfd_getfd, process, 1, 0).map(drop)
    }),
    Escape::new(Memory, "compare with the program", |o| {
        const KCMP_VM: i32 = 1;
        call!(SYS_kcmp, std::process::id(), o.host, KCMP_VM, 0, 0).map(drop)
    })
    .privileged(),
    Escape::new(Memory, "System V shared memory", |_| {
        let id = call!(SYS_shmget, libc::IPC_PRIVATE, 4096, 0o600)?;
        let none = std::ptr::null::<u8>();
        call!(SYS_shmctl, id, libc::IPC_RMID, none).map(drop)
    }),
    Escape::new(Memory, "a System V queue", |_| {
        let id = call!(SYS_msgget, libc::IPC_PRIVATE, 0o600)?;
        let none = std::ptr::null::<u8>();
        call!(SYS_msgctl, id, libc::IPC_RMID, none).map(drop)
    }),
    Escape::new(Memory, "a System V semaphore", |_| {
        let id = call!(SYS_semget, libc::IPC_PRIVATE, 1, 0o600)?;
        call!(SYS_semctl, id, 0, libc::IPC_RMID).map(drop)
    }),
    Escape::new(Memory, "a queue with a name", queue),
    Escape::new(Memory, "a key of the kernel's", |_| {
        const DESCRIBE: i32 = 6;
        const SESSION: i32 = -3;
        let none = std::ptr::null::<u8>();
        call!(SYS_keyctl, DESCRIBE, SESSION, none, 0, 0).map(drop)
    })
    .privileged(),
    Escape::new(Memory, "handle page faults", |_| {
        call!(SYS_userfaultfd, 1).map(drop)
    })
    .privileged(),
    Escape::new(Memory, "count events", |_| {
        let mut attributes = [0_u32; 32];
        // A software clock; the size of the attributes.
        (attributes[0], attributes[1]) = (1, 128);
        call!(SYS_perf_event_open, attributes.as_ptr(), 0, -1, -1, 0).map(drop)
    })
    .privileged(),
    Escape::new(Memory, "a program for the kernel", |_| {
        // A map of four bytes to four.
        let attributes = [1_u32, 4, 4, 1, 0];
        call!(SYS_bpf, 0, attributes.as_ptr(), size_of_val(&attributes)).map(drop)
    })
    .privileged(),
    Escape::new(Memory, "a ring of system calls", |_| {
        let mut parameters = [0_u32; 30];
        call!(SYS_io_uring_setup, 4, parameters.as_mut_ptr()).map(drop)
    })
    .privileged(),
    Escape::new(
        Memory,
        "a secret of its own, from the program's environment",
        |_| match std::env::vars_os().next() {
            Some(_) => Ok(()),
            None => Err(io::Error::other("the environment is empty")),
        },
    ),
    Escape::new(Memory, "a file or a directory that was open before", |_| {
        open_before()
    })
    .privileged(),
];

fn transfer(outside: &Outside, read: bool) -> io::Result<()> {
    let mut word = [0_u8; 8];
    let here = libc::iovec {
        iov_base: word.as_mut_ptr().cast(),
        iov_len: word.len(),
    };
    let there = libc::iovec {
        iov_base: outside.secret as *mut libc::c_void,
        iov_len: word.len(),
    };
    let (here, there) = (&raw const here, &raw const there);
    if read {
        return call!(
            SYS_process_vm_readv,
            outside.host,
            here,
            1_usize,
            there,
            1_usize,
            0_usize
        )
        .map(drop);
    }
    call!(
        SYS_process_vm_writev,
        outside.host,
        here,
        1_usize,
        there,
        1_usize,
        0_usize
    )
    .map(drop)
}

fn queue(_: &Outside) -> io::Result<()> {
    let name = super::text(&format!("brigade-escape-{}", std::process::id()));
    let flags = libc::O_CREAT | libc::O_RDWR;
    let none = std::ptr::null::<u8>();
    call!(SYS_mq_open, name.as_ptr(), flags, 0o600, none)?;
    call!(SYS_mq_unlink, name.as_ptr()).map(drop)
}

/// Looks for what is on a path among what is open.
fn open_before() -> io::Result<()> {
    for number in 3..1024 {
        // SAFETY: a zeroed one is valid; the call writes it, or fails.
        let mut metadata: libc::stat = unsafe { std::mem::zeroed() };
        if call!(SYS_fstat, number, &raw mut metadata).is_err() {
            continue;
        }
        let kind = metadata.st_mode & libc::S_IFMT;
        // A file in memory has no links.
        if kind == libc::S_IFDIR || kind == libc::S_IFREG && metadata.st_nlink > 0 {
            return Ok(());
        }
    }
    Err(io::Error::other("nothing is open that has a path"))
}
