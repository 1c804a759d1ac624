//! Starts that are refused, and what is said then; and as whom workers run.

use brigade::{Cause, JoinError, Kind, Pool, Sandbox, process};
use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    crate::trials![
        workers_of_root_are_nobody,
        another_user_is_had_by_root_only,
        a_thread_that_is_left_running_is_refused_by_name,
        a_stream_that_an_ended_thread_holds_is_refused,
        a_thread_that_has_ended_is_none,
        a_violation_says_what_was_tried,
        a_violation_with_blocked_signals_is_one_too,
        a_signal_of_that_number_is_no_violation,
        every_effect_is_reported,
        calls_that_no_task_needs_are_refused_by_their_number,
    ]
}

fn is_root() -> bool {
    // SAFETY: asks for a number.
    unsafe { libc::geteuid() == 0 }
}

fn ids(_: ()) -> [u32; 4] {
    // SAFETY: asks for numbers.
    unsafe {
        [
            libc::getuid(),
            libc::geteuid(),
            libc::getgid(),
            libc::getegid(),
        ]
    }
}

fn workers_of_root_are_nobody() {
    let shut_in = process::Builder::new().sandbox(Sandbox::deny_all());
    let seen = shut_in
        .spawn(ids, ())
        .expect("a worker")
        .join()
        .expect("ok");
    assert_eq!(seen, if is_root() { [65534; 4] } else { ids(()) });
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .process(shut_in)
        .build();
    assert_eq!(
        pool.expect("a pool").submit(ids, ()).join().expect("ok"),
        seen
    );
}

fn another_user_is_had_by_root_only() {
    let other = process::Builder::new().sandbox(Sandbox::deny_all().user(1234, 4321));
    let started = other.spawn(ids, ()).map(|w| w.join().expect("ok"));
    if is_root() {
        assert_eq!(started.expect("a worker"), [1234, 1234, 4321, 4321]);
    } else {
        let why = started.expect_err("not root").to_string();
        assert!(why.contains("only a program that is root"), "{why}");
    }
}

/// An initializer may use threads.
fn a_thread_that_has_ended_is_none() {
    fn use_one() {
        let thread = std::thread::spawn(|| println!("from the initializer's thread"));
        thread.join().expect("it ends");
    }
    let shut_in = process::Builder::new().sandbox(Sandbox::deny_all());
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .initializer(use_one)
        .process(shut_in)
        .build();
    let pool = pool.expect("a pool");
    assert_eq!(pool.submit(|n: u32| n + 1, 1).join().expect("ok"), 2);
}

fn a_thread_that_is_left_running_is_refused_by_name() {
    fn leave() {
        std::thread::Builder::new()
            .name("left-behind".to_owned())
            .spawn(|| {
                loop {
                    std::thread::park();
                }
            })
            .expect("a thread");
    }
    let shut_in = process::Builder::new().sandbox(Sandbox::deny_all());
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .initializer(leave)
        .process(shut_in);
    let why = pool
        .build()
        .map(drop)
        .expect_err("a thread is left")
        .to_string();
    assert!(why.contains("left-behind"), "{why}");
}

/// It would be waited for before the sandbox is closed.
fn a_stream_that_an_ended_thread_holds_is_refused() {
    fn hold() {
        let hold = || {
            let _ = std::mem::ManuallyDrop::new(std::io::stdout().lock());
        };
        std::thread::spawn(hold).join().expect("no panic");
    }
    let shut_in = process::Builder::new().sandbox(Sandbox::deny_all());
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .initializer(hold)
        .process(shut_in);
    let why = pool.build().map(drop).expect_err("it is held").to_string();
    assert!(why.contains("left a stream locked"), "{why}");
}

fn cause<A: brigade::Message, R: brigade::Message>(task: fn(A) -> R, input: A) -> Cause {
    let deadly = process::Builder::new().sandbox(Sandbox::deny_all().kill_on_violation());
    match deadly.spawn(task, input).expect("a worker").join() {
        Err(JoinError::Crashed(crash)) => crash.cause().clone(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was let"),
    }
}

fn a_violation_says_what_was_tried() {
    let read = |path: String| std::fs::read(path).is_ok();
    let path = "/etc/passwd".to_owned();
    assert_eq!(
        cause(read, path),
        Cause::Sandbox("openat /etc/passwd".to_owned())
    );
    let long = format!("/{}", "x".repeat(1_000));
    match cause(read, long) {
        Cause::Sandbox(what) => assert!(what.starts_with("openat /xxx") && what.len() == 240),
        other => panic!("{other}"),
    }
    // What would change a terminal that shows it is cut off.
    match cause(read, "/a\u{1b}[2J".to_owned()) {
        Cause::Sandbox(what) => assert_eq!(what, "openat /a"),
        other => panic!("{other}"),
    }
    let socket = |()| std::net::UdpSocket::bind("127.0.0.1:0").is_ok();
    match cause(socket, ()) {
        Cause::Sandbox(what) => assert!(what.starts_with("socket of family 2"), "{what}"),
        other => panic!("{other}"),
    }
}

fn a_violation_with_blocked_signals_is_one_too() {
    fn blocked(_: ()) -> bool {
        // SAFETY: a set of this function's, filled before it is read.
        unsafe {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        }
        std::fs::read("/etc/passwd").is_ok()
    }
    assert_eq!(
        cause(blocked, ()),
        Cause::Sandbox("a system call".to_owned())
    );
}

fn a_signal_of_that_number_is_no_violation() {
    let plain = process::Builder::new();
    let raised = |()| {
        // SAFETY: a signal to itself.
        unsafe { libc::raise(libc::SIGSYS) };
    };
    match plain.spawn(raised, ()).expect("a worker").join() {
        Err(JoinError::Crashed(crash)) => {
            assert_eq!(*crash.cause(), Cause::Signal(libc::SIGSYS));
        }
        other => panic!("{other:?}"),
    }
}

fn every_effect_is_reported() {
    let report = Sandbox::deny_all().report();
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.iter().count(), brigade::sandbox::Effect::ALL.len());
    assert!(report.steps().count() > 3);
    let refused = Sandbox::deny_all().read("/no/such/path").report();
    assert!(!refused.is_complete() && refused.to_string().contains("/no/such/path"));
}

/// Each with arguments that make no sense, so that the kernel does nothing where it is let through,
/// and says something else.
fn calls_that_no_task_needs_are_refused_by_their_number() {
    const CALLS: &[libc::c_long] = &[
        libc::SYS_acct,
        libc::SYS_add_key,
        libc::SYS_adjtimex,
        libc::SYS_bind,
        libc::SYS_bpf,
        libc::SYS_capset,
        libc::SYS_chroot,
        libc::SYS_clock_adjtime,
        libc::SYS_clock_settime,
        libc::SYS_clone3,
        libc::SYS_connect,
        libc::SYS_delete_module,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_fanotify_init,
        libc::SYS_fanotify_mark,
        libc::SYS_fchmod,
        libc::SYS_fchown,
        libc::SYS_finit_module,
        libc::SYS_fremovexattr,
        libc::SYS_fsconfig,
        libc::SYS_fsetxattr,
        libc::SYS_fsmount,
        libc::SYS_fsopen,
        libc::SYS_fspick,
        libc::SYS_get_mempolicy,
        libc::SYS_get_robust_list,
        libc::SYS_init_module,
        libc::SYS_inotify_init1,
        libc::SYS_inotify_rm_watch,
        libc::SYS_io_cancel,
        libc::SYS_io_destroy,
        libc::SYS_io_getevents,
        libc::SYS_io_setup,
        libc::SYS_io_submit,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_io_uring_setup,
        libc::SYS_ioprio_get,
        libc::SYS_ioprio_set,
        libc::SYS_kcmp,
        libc::SYS_kexec_load,
        libc::SYS_keyctl,
        libc::SYS_landlock_add_rule,
        libc::SYS_landlock_create_ruleset,
        libc::SYS_landlock_restrict_self,
        libc::SYS_listen,
        libc::SYS_mbind,
        libc::SYS_migrate_pages,
        libc::SYS_mount,
        libc::SYS_mount_setattr,
        libc::SYS_move_mount,
        libc::SYS_move_pages,
        libc::SYS_mq_notify,
        libc::SYS_mq_open,
        libc::SYS_mq_unlink,
        libc::SYS_msgctl,
        libc::SYS_msgget,
        libc::SYS_msgrcv,
        libc::SYS_msgsnd,
        libc::SYS_name_to_handle_at,
        libc::SYS_open_by_handle_at,
        libc::SYS_open_tree,
        libc::SYS_openat2,
        libc::SYS_perf_event_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_send_signal,
        libc::SYS_pivot_root,
        libc::SYS_prlimit64,
        libc::SYS_process_madvise,
        libc::SYS_process_mrelease,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_ptrace,
        libc::SYS_quotactl,
        libc::SYS_quotactl_fd,
        libc::SYS_reboot,
        libc::SYS_remap_file_pages,
        libc::SYS_request_key,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setscheduler,
        libc::SYS_seccomp,
        libc::SYS_semctl,
        libc::SYS_semget,
        libc::SYS_semop,
        libc::SYS_semtimedop,
        libc::SYS_set_mempolicy,
        libc::SYS_setdomainname,
        libc::SYS_setfsgid,
        libc::SYS_setfsuid,
        libc::SYS_setgid,
        libc::SYS_setgroups,
        libc::SYS_sethostname,
        libc::SYS_setns,
        libc::SYS_setpgid,
        libc::SYS_setpriority,
        libc::SYS_setregid,
        libc::SYS_setresgid,
        libc::SYS_setresuid,
        libc::SYS_setreuid,
        libc::SYS_setrlimit,
        libc::SYS_setsid,
        libc::SYS_settimeofday,
        libc::SYS_setuid,
        libc::SYS_shmat,
        libc::SYS_shmctl,
        libc::SYS_shmdt,
        libc::SYS_shmget,
        libc::SYS_socket,
        libc::SYS_swapoff,
        libc::SYS_swapon,
        libc::SYS_sync,
        libc::SYS_syncfs,
        libc::SYS_syslog,
        libc::SYS_tkill,
        libc::SYS_truncate,
        libc::SYS_umount2,
        libc::SYS_unshare,
        libc::SYS_userfaultfd,
        libc::SYS_vhangup,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_ioperm,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_iopl,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_modify_ldt,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_uselib,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_ustat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork,
        // Newer than the C library's names: memfd_secret, cachestat, map_shadow_stack, statmount,
        // listmount, and one that there is not yet.
        447,
        451,
        453,
        457,
        458,
        600,
    ];
    fn let_through(_: ()) -> Vec<(libc::c_long, i64, Option<i32>)> {
        const NONSENSE: libc::c_long = -1;
        let call = |&number: &libc::c_long| {
            let [a, b, c, d, e, f] = [NONSENSE; 6];
            // SAFETY: no argument is an address of anything.
            let said = unsafe { libc::syscall(number, a, b, c, d, e, f) };
            let errno = std::io::Error::last_os_error().raw_os_error();
            let is_refused = said == -1
                && matches!(
                    errno,
                    Some(libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EAFNOSUPPORT)
                );
            (!is_refused).then_some((number, said, errno))
        };
        CALLS.iter().filter_map(call).collect()
    }
    let with_paths = Sandbox::deny_all().read("/usr").write("/tmp");
    let (mut rooms, landlock) = (vec![Sandbox::deny_all()], crate::landlock());
    if landlock >= 1 {
        rooms.push(with_paths);
    }
    for sandbox in rooms {
        let shut_in = process::Builder::new().sandbox(sandbox);
        let mut through = shut_in
            .spawn(let_through, ())
            .expect("a worker")
            .join()
            .expect("ok");
        // Where lengths are judged by Landlock, it is.
        through.retain(|(number, ..)| *number != libc::SYS_truncate || landlock < 3);
        assert_eq!(through, []);
    }
}
