//! Profiles of system calls that are denied.

use std::io;

use brigade_test_support::{DeniedCall, deny};

/// From here on these calls fail with that error, in this process and in all that it starts.
pub(crate) fn deny_all(calls: &[libc::c_long], errno: i32) -> io::Result<()> {
    let calls: Vec<DeniedCall> = calls.iter().map(|&call| call.into()).collect();
    deny(&calls, errno)
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
