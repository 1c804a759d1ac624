//! Profiles of system calls that are denied.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use brigade_test_support::{DeniedCall, deny, kill};

/// From here on these calls fail with that error, in this process and in all that it starts.
pub(crate) fn deny_all(calls: &[libc::c_long], errno: i32) -> io::Result<()> {
    let calls: Vec<DeniedCall> = calls.iter().map(|&call| call.into()).collect();
    deny(&calls, errno)
}

/// From here on these calls end the process that makes them.
pub(crate) fn kill_for(calls: &[libc::c_long]) -> io::Result<()> {
    let calls: Vec<DeniedCall> = calls.iter().map(|&call| call.into()).collect();
    kill(&calls)
}

/// What the container engines' default profile denies a program without capabilities, with EPERM.
pub(crate) const CONTAINER: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_get_mempolicy,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mbind,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_set_mempolicy,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// What a profile that is older than they are does not know, and so denies with EPERM. What neither
/// this library nor the C library can do without is not among them.
pub(crate) const UNKNOWN_TO_OLD_PROFILES: &[libc::c_long] = &[
    libc::SYS_close_range,
    libc::SYS_faccessat2,
    libc::SYS_futex_waitv,
    libc::SYS_openat2,
    libc::SYS_epoll_pwait2,
    libc::SYS_rseq,
];

/// What the set of calls that services usually get (`SystemCallFilter=@system-service`) does not
/// have either. Without an error of its own it ends the service.
pub(crate) const UNKNOWN_TO_SERVICES: &[libc::c_long] = &[
    libc::SYS_chroot,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_restrict_self,
    libc::SYS_pkey_alloc,
    libc::SYS_pkey_free,
    libc::SYS_pkey_mprotect,
    libc::SYS_ptrace,
    libc::SYS_seccomp,
];

/// What the library has another way for, each by itself.
pub(crate) const DISPENSABLE: &[libc::c_long] = &[
    libc::SYS_close_range,
    libc::SYS_fallocate,
    libc::SYS_futex_waitv,
    libc::SYS_getsid,
    libc::SYS_membarrier,
    libc::SYS_prlimit64,
    libc::SYS_rseq,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_setrlimit,
    libc::SYS_sysinfo,
];

/// From here on nothing may be written, made or removed but below these directories: landlock(7),
/// its first version.
pub(crate) fn write_only_below(directories: &[&Path]) -> io::Result<()> {
    // What changes something: `LANDLOCK_ACCESS_FS_WRITE_FILE`, `_REMOVE_DIR` and all of `_MAKE_*`.
    const WRITES: u64 = 1 << 1 | 0x1ff0;
    const BENEATH: libc::c_int = 1;
    let (handled, none) = (WRITES, 0_u32);
    // SAFETY: the kernel reads the numbers, which outlive the calls.
    unsafe {
        let ruleset = said(libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const handled,
            size_of_val(&handled),
            none,
        ))?;
        for directory in directories {
            let directory = fs::File::open(directory)?;
            // `struct landlock_path_beneath_attr`, which is packed.
            let mut rule = [0_u8; 12];
            rule[..8].copy_from_slice(&WRITES.to_ne_bytes());
            rule[8..].copy_from_slice(&directory.as_raw_fd().to_ne_bytes());
            let rule = rule.as_ptr();
            said(libc::syscall(
                libc::SYS_landlock_add_rule,
                ruleset,
                BENEATH,
                rule,
                none,
            ))?;
        }
        said(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
        said(libc::syscall(
            libc::SYS_landlock_restrict_self,
            ruleset,
            none,
        ))?;
    }
    Ok(())
}

/// Whether the kernel has Landlock.
pub(crate) fn has_landlock() -> bool {
    const VERSION: u32 = 1;
    let none = std::ptr::null::<u8>();
    // SAFETY: asks for a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
    version > 0
}

fn said(result: libc::c_long) -> io::Result<libc::c_long> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}
