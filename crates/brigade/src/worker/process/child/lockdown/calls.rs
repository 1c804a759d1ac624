//! What a sandbox does with which system calls: syscalls(2). Everything that is in none of these
//! lists is refused with EPERM.

use std::fmt::Write as _;

use libc::{c_int, c_long};

use super::text::CallText;

/// Allowed, whatever their arguments: they concern this process alone, or what it has open.
pub(super) const ALLOWED: &[c_long] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mlockall,
    libc::SYS_mremap,
    MSEAL,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_munlockall,
    libc::SYS_munmap,
    libc::SYS_pkey_alloc,
    libc::SYS_pkey_free,
    // Threads, and how they wait.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    FUTEX_WAITV,
    FUTEX_WAKE,
    FUTEX_WAIT,
    FUTEX_REQUEUE,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getattr,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_rr_get_interval,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    // Signals to itself.
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    // Time.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getitimer,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_setitimer,
    libc::SYS_timer_create,
    libc::SYS_timer_delete,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_gettime,
    libc::SYS_timer_settime,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_times,
    // What it is.
    libc::SYS_capget,
    libc::SYS_getcwd,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpriority,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_sysinfo,
    libc::SYS_umask,
    libc::SYS_uname,
    // Its children, where it may have any.
    libc::SYS_wait4,
    libc::SYS_waitid,
    // What it has open.
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_mq_getsetattr,
    libc::SYS_mq_timedreceive,
    libc::SYS_mq_timedsend,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readahead,
    libc::SYS_readv,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_sync_file_range,
    libc::SYS_tee,
    libc::SYS_vmsplice,
    libc::SYS_write,
    libc::SYS_writev,
    // Sockets that it has open.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
];

/// Allowed calls that newer processors do not have.
#[cfg(target_arch = "x86_64")]
pub(super) const ALLOWED_OLD: &[c_long] = &[
    libc::SYS_alarm,
    libc::SYS_arch_prctl,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getdents,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_pause,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_signalfd,
    libc::SYS_time,
];
/// None.
#[cfg(target_arch = "aarch64")]
pub(super) const ALLOWED_OLD: &[c_long] = &[];

/// Refused as if the kernel did not have them: libraries ask for them first, and go on without; or
/// they do what others do, behind a pointer.
pub(super) const ABSENT: &[c_long] = &[
    libc::SYS_clone3,
    libc::SYS_faccessat2,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_openat2,
    libc::SYS_statx,
];

/// Calls that open a file, or would.
pub(super) const OPENING: &[c_long] = &[
    libc::SYS_openat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
];

/// A flag of openat(2) that the kernel does not know, and passes over: the handler sets it, so that
/// the filter knows the handler's calls. A task that sets it is judged by Landlock, as the
/// handler's calls are, and gets an error where it would be ended.
pub(super) const HANDLED: u32 = 1 << 30;

/// The flags of open(2) by which a file is made, with the permissions that are asked for: of
/// `O_TMPFILE`'s two bits one is `O_DIRECTORY`.
pub(super) const MAKES: c_int = libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY;

pub(super) fn makes_file(flags: c_int) -> bool {
    flags & MAKES != 0
}

/// Calls that tell of a file by its path.
pub(super) const ASKING: &[c_long] = &[
    libc::SYS_faccessat,
    libc::SYS_newfstatat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
];

/// Calls that change directories, which Landlock judges.
pub(super) const CHANGING: &[c_long] = &[
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_renameat2,
    libc::SYS_renameat,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

/// Calls that tell of a file or a directory by its path, too, and that only programs with a grant
/// may make.
pub(super) const LOOKING: &[c_long] = &[
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_readlinkat,
    libc::SYS_statfs,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

/// Calls that take a path, and that no grant allows.
pub(super) const NEVER: &[c_long] = &[
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_inotify_add_watch,
    libc::SYS_lremovexattr,
    libc::SYS_lsetxattr,
    libc::SYS_mknodat,
    libc::SYS_removexattr,
    libc::SYS_setxattr,
    libc::SYS_utimensat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
];

// Newer than the C library's names for them; the same number on every processor.
const FUTEX_WAITV: c_long = 449;
const FUTEX_WAKE: c_long = 454;
const FUTEX_WAIT: c_long = 455;
const FUTEX_REQUEUE: c_long = 456;
const MSEAL: c_long = 462;

/// Calls from this number on are unknown here, as to a kernel that does not have them.
pub(super) const UNKNOWN: u32 = 463;

/// Whether it asks what may be done with a file.
pub(super) fn asks_for_access(number: c_long) -> bool {
    #[cfg(target_arch = "x86_64")]
    if number == libc::SYS_access {
        return true;
    }
    number == libc::SYS_faccessat
}

/// Where a call has its path.
fn path_at(number: c_long) -> Option<usize> {
    match number {
        libc::SYS_openat
        | libc::SYS_newfstatat
        | libc::SYS_faccessat
        | libc::SYS_execveat
        | libc::SYS_linkat
        | libc::SYS_mkdirat
        | libc::SYS_renameat
        | libc::SYS_renameat2
        | libc::SYS_unlinkat
        | libc::SYS_fchmodat
        | libc::SYS_fchownat
        | libc::SYS_mknodat
        | libc::SYS_readlinkat
        | libc::SYS_utimensat => Some(1),
        libc::SYS_execve | libc::SYS_symlinkat => Some(0),
        libc::SYS_fchdir => None,
        _ if [OPENING, ASKING, CHANGING, LOOKING, NEVER]
            .iter()
            .any(|list| list.contains(&number)) =>
        {
            Some(0)
        }
        _ => None,
    }
}

/// Says what was tried. In a signal handler: without an allocation.
pub(super) fn describe(number: c_long, arguments: [usize; 6], into: &mut CallText) {
    match NAMES.iter().find(|(of, _)| *of == number) {
        Some((_, name)) => {
            let _ = into.write_str(name);
        }
        None => {
            let _ = write!(into, "system call {number}");
        }
    }
    if let Some(at) = path_at(number) {
        let _ = into.write_str(" ");
        return into.push_path(arguments[at]);
    }
    let [a, b, c, ..] = arguments.map(|argument| argument as c_int);
    let _ = match number {
        libc::SYS_socket => write!(into, " of family {a}, type {b}, protocol {c}"),
        libc::SYS_kill | libc::SYS_tkill => write!(into, " {a} with signal {b}"),
        libc::SYS_tgkill => write!(into, " {a}, {b} with signal {c}"),
        libc::SYS_ptrace => write!(into, " {a} of process {b}"),
        _ => Ok(()),
    };
}

macro_rules! names {
    ($($(#[$only:meta])? $name:literal = $number:ident,)*) => {
        /// What is refused most, by name.
        const NAMES: &[(c_long, &str)] = &[$($(#[$only])? (libc::$number, $name),)*];
    };
}

names! {
#[cfg(target_arch = "x86_64")] "access" = SYS_access,
    #[cfg(target_arch = "x86_64")] "chmod" = SYS_chmod,
    #[cfg(target_arch = "x86_64")] "chown" = SYS_chown,
    #[cfg(target_arch = "x86_64")] "creat" = SYS_creat,
    #[cfg(target_arch = "x86_64")] "fork" = SYS_fork,
    #[cfg(target_arch = "x86_64")] "link" = SYS_link,
    #[cfg(target_arch = "x86_64")] "lstat" = SYS_lstat,
    #[cfg(target_arch = "x86_64")] "mkdir" = SYS_mkdir,
    #[cfg(target_arch = "x86_64")] "mknod" = SYS_mknod,
    #[cfg(target_arch = "x86_64")] "open" = SYS_open,
    #[cfg(target_arch = "x86_64")] "readlink" = SYS_readlink,
    #[cfg(target_arch = "x86_64")] "rename" = SYS_rename,
    #[cfg(target_arch = "x86_64")] "rmdir" = SYS_rmdir,
    #[cfg(target_arch = "x86_64")] "stat" = SYS_stat,
    #[cfg(target_arch = "x86_64")] "symlink" = SYS_symlink,
    #[cfg(target_arch = "x86_64")] "unlink" = SYS_unlink,
    #[cfg(target_arch = "x86_64")] "vfork" = SYS_vfork,
    "add_key" = SYS_add_key,
    "bind" = SYS_bind,
    "bpf" = SYS_bpf,
    "capset" = SYS_capset,
    "chdir" = SYS_chdir,
    "chroot" = SYS_chroot,
    "clock_settime" = SYS_clock_settime,
    "clone" = SYS_clone,
    "connect" = SYS_connect,
    "execve" = SYS_execve,
    "execveat" = SYS_execveat,
    "faccessat" = SYS_faccessat,
    "fanotify_init" = SYS_fanotify_init,
    "fchmod" = SYS_fchmod,
    "fchmodat" = SYS_fchmodat,
    "fchown" = SYS_fchown,
    "fchownat" = SYS_fchownat,
    "fcntl" = SYS_fcntl,
    "getxattr" = SYS_getxattr,
    "init_module" = SYS_init_module,
    "inotify_add_watch" = SYS_inotify_add_watch,
    "inotify_init1" = SYS_inotify_init1,
    "ioctl" = SYS_ioctl,
    "kcmp" = SYS_kcmp,
    "keyctl" = SYS_keyctl,
    "kill" = SYS_kill,
    "linkat" = SYS_linkat,
    "listen" = SYS_listen,
    "migrate_pages" = SYS_migrate_pages,
    "mkdirat" = SYS_mkdirat,
    "mknodat" = SYS_mknodat,
    "mmap" = SYS_mmap,
    "mount" = SYS_mount,
    "move_pages" = SYS_move_pages,
    "mprotect" = SYS_mprotect,
    "mq_open" = SYS_mq_open,
    "mq_unlink" = SYS_mq_unlink,
    "msgctl" = SYS_msgctl,
    "msgget" = SYS_msgget,
    "name_to_handle_at" = SYS_name_to_handle_at,
    "newfstatat" = SYS_newfstatat,
    "open_by_handle_at" = SYS_open_by_handle_at,
    "openat" = SYS_openat,
    "openat2" = SYS_openat2,
    "perf_event_open" = SYS_perf_event_open,
    "personality" = SYS_personality,
    "pidfd_getfd" = SYS_pidfd_getfd,
    "pidfd_open" = SYS_pidfd_open,
    "pidfd_send_signal" = SYS_pidfd_send_signal,
    "pivot_root" = SYS_pivot_root,
    "prctl" = SYS_prctl,
    "prlimit64" = SYS_prlimit64,
    "process_madvise" = SYS_process_madvise,
    "process_vm_readv" = SYS_process_vm_readv,
    "process_vm_writev" = SYS_process_vm_writev,
    "ptrace" = SYS_ptrace,
    "readlinkat" = SYS_readlinkat,
    "reboot" = SYS_reboot,
    "renameat" = SYS_renameat,
    "renameat2" = SYS_renameat2,
    "request_key" = SYS_request_key,
    "rt_sigaction" = SYS_rt_sigaction,
    "rt_sigqueueinfo" = SYS_rt_sigqueueinfo,
    "rt_tgsigqueueinfo" = SYS_rt_tgsigqueueinfo,
    "sched_setaffinity" = SYS_sched_setaffinity,
    "sched_setscheduler" = SYS_sched_setscheduler,
    "seccomp" = SYS_seccomp,
    "semctl" = SYS_semctl,
    "semget" = SYS_semget,
    "sendto" = SYS_sendto,
    "setgid" = SYS_setgid,
    "setns" = SYS_setns,
    "setpriority" = SYS_setpriority,
    "setresgid" = SYS_setresgid,
    "setresuid" = SYS_setresuid,
    "setrlimit" = SYS_setrlimit,
    "setsid" = SYS_setsid,
    "settimeofday" = SYS_settimeofday,
    "setuid" = SYS_setuid,
    "setxattr" = SYS_setxattr,
    "shmat" = SYS_shmat,
    "shmctl" = SYS_shmctl,
    "shmget" = SYS_shmget,
    "socket" = SYS_socket,
    "socketpair" = SYS_socketpair,
    "statfs" = SYS_statfs,
    "statx" = SYS_statx,
    "swapon" = SYS_swapon,
    "symlinkat" = SYS_symlinkat,
    "sync" = SYS_sync,
    "tgkill" = SYS_tgkill,
    "tkill" = SYS_tkill,
    "truncate" = SYS_truncate,
    "umount2" = SYS_umount2,
    "unlinkat" = SYS_unlinkat,
    "unshare" = SYS_unshare,
    "userfaultfd" = SYS_userfaultfd,
    "utimensat" = SYS_utimensat,
}
