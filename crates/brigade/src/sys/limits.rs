//! What is probably in the way of a system call, by its error: getrlimit(2), cgroups(7), and what
//! can be done about it.

use rustix::process::Resource;

use super::{cgroup, process};

/// What makes a thread.
pub(crate) const THREAD: &str = "pthread_create(3), by clone3(2)";

/// Whether a call that fails like this is denied as such: seccomp(2), a security module, or a
/// kernel that does not have it.
pub(super) fn is_denial(errno: i32) -> bool {
    matches!(errno, libc::EPERM | libc::EACCES | libc::ENOSYS)
}

/// The limit that this call has probably met, with its value, in this process and at this moment.
pub(super) fn in_the_way(call: &str, errno: i32) -> Option<String> {
    match errno {
        libc::EMFILE if call.starts_with("mq_") => {
            let queues = soft(Resource::Msgqueue).map(|n| format!("RLIMIT_MSGQUEUE is {n} bytes"));
            let files = soft(Resource::Nofile).map(|n| format!("RLIMIT_NOFILE is {n}"));
            both(queues, files)
        }
        libc::EMFILE | libc::ETOOMANYREFS => {
            soft(Resource::Nofile).map(|n| format!("RLIMIT_NOFILE is {n}"))
        }
        libc::ENFILE => number("/proc/sys/fs/file-max"),
        libc::EAGAIN if makes_tasks(call) => tasks(),
        // A program that has its memory locked, mlockall(2), has each new mapping locked.
        libc::EAGAIN if call.starts_with("mmap") => {
            soft(Resource::Memlock).map(|n| format!("RLIMIT_MEMLOCK is {n} bytes"))
        }
        libc::E2BIG => soft(Resource::Stack).map(|n| format!("RLIMIT_STACK is {n} bytes")),
        libc::ENOMEM => soft(Resource::As).map(|n| format!("RLIMIT_AS is {n} bytes")),
        libc::EFBIG => soft(Resource::Fsize).map(|n| format!("RLIMIT_FSIZE is {n} bytes")),
        libc::ENOSPC if call.starts_with("mq_") => number("/proc/sys/fs/mqueue/queues_max"),
        libc::ENOSPC if call.starts_with("epoll_") => number("/proc/sys/fs/epoll/max_user_watches"),
        libc::EINVAL if call.starts_with("mq_") => both(
            number("/proc/sys/fs/mqueue/msg_max"),
            number("/proc/sys/fs/mqueue/msgsize_max"),
        ),
        _ => None,
    }
}

/// What can be done about an error of this call.
pub(super) fn advice(call: &str, errno: i32) -> Option<&'static str> {
    Some(match errno {
        libc::ENOSYS => {
            "this kernel does not have it, or a seccomp filter or a container's profile hides it: \
             allow it there"
        }
        libc::EPERM | libc::EACCES => {
            "a seccomp filter, a container's profile or a security module probably denies it: \
             allow it there"
        }
        libc::EMFILE if call.starts_with("mq_") => {
            "raise what is too low (`ulimit -q`, `ulimit -n`), or use another transport"
        }
        libc::EMFILE => "raise it (`ulimit -n`), or close some descriptors",
        libc::ENFILE => "raise it (sysctl fs.file-max), or close some descriptors",
        libc::ETOOMANYREFS => "raise it (`ulimit -n`), or send fewer descriptors at a time",
        libc::EAGAIN if makes_tasks(call) => {
            "raise what is too low (`ulimit -u`, pids.max, `ulimit -v`, `ulimit -l`, sysctl \
             kernel.pid_max), or start fewer threads and processes"
        }
        libc::EAGAIN if call.starts_with("mmap") => {
            "raise it (`ulimit -l`), or lock less memory: mlockall(2) locks each new mapping"
        }
        libc::E2BIG => {
            "a quarter of it is for the arguments and the environment, and 128 KiB for each of \
             them: raise it (`ulimit -s`), or have a smaller environment"
        }
        libc::ENOMEM => {
            "raise what is too low (`ulimit -v`, the control group's memory, vm.max_map_count), \
             or use less memory"
        }
        libc::EFBIG => "raise it (`ulimit -f`): memory that processes share is files to the kernel",
        libc::ENOSPC if call.starts_with("mq_") => "raise it, or use another transport",
        libc::ENOSPC if call.starts_with("epoll_") => "raise it (sysctl)",
        libc::ENOSPC => "there is no memory or no room on the disk for it: use less, or free some",
        _ => return None,
    })
}

/// Whether a call makes a thread or a process.
fn makes_tasks(call: &str) -> bool {
    ["clone", "fork", "pthread_create"]
        .iter()
        .any(|makes| call.starts_with(makes))
}

fn soft(resource: Resource) -> Option<u64> {
    process::limit(resource)?.current
}

/// What a file of /proc/sys says, with its name.
fn number(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(format!("{path} is {}", text.trim()))
}

/// How many threads and processes there may be: by the user's limit, by the control group's, and
/// by the room for them.
fn tasks() -> Option<String> {
    // Root's processes are not counted.
    let counted = process::effective_user() != 0;
    let user = soft(Resource::Nproc)
        .filter(|_| counted)
        .map(|n| format!("RLIMIT_NPROC is {n}"));
    let group = cgroup::lowest_pids_max().map(|n| format!("pids.max is {n}"));
    // For stacks.
    let memory = soft(Resource::As).map(|n| format!("RLIMIT_AS is {n} bytes"));
    let memory = both(memory, locked());
    both(both(user, group), memory)
        .or_else(|| tasks_of_system(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok()))
}

/// How many threads and processes all users may have: the lower of how many the kernel has room
/// for, and how many numbers there are for them, in this pid namespace.
fn tasks_of_system(number: impl Fn(&str) -> Option<u64>) -> Option<String> {
    let all = ["/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max"];
    let said = all
        .into_iter()
        .filter_map(|path| Some((number(path)?, path)));
    let (lowest, path) = said.min()?;
    Some(format!("{path} is {lowest}"))
}

/// How much memory may be locked, where that keeps a stack from being mapped: of a program that has
/// called mlockall(2) for what is to come.
fn locked() -> Option<String> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
    const STACK: usize = 8 << 20;
    // SAFETY: at an address that the kernel chooses; nothing is ever read or written there, and it
    // is unmapped at once.
    let tried = unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            STACK,
            ProtFlags::empty(),
            MapFlags::PRIVATE,
        )
        .and_then(|at| munmap(at, STACK))
    };
    soft(Resource::Memlock)
        .filter(|_| tried == Err(rustix::io::Errno::AGAIN))
        .map(|n| format!("RLIMIT_MEMLOCK is {n} bytes"))
}

fn both(one: Option<String>, other: Option<String>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) => Some(format!("{one}, {other}")),
        (one, other) => one.or(other),
    }
}

/// The limits of this process that are not without end, and may keep another one from starting.
pub(crate) fn all() -> String {
    let of = |resource, name: &str| soft(resource).map(|n| format!("{name} is {n}"));
    let limits = [
        of(Resource::Fsize, "RLIMIT_FSIZE"),
        of(Resource::Nofile, "RLIMIT_NOFILE"),
        tasks(),
    ];
    limits.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The bytes of memory that this machine has, and of swap. `None`: sysinfo(2) is denied.
pub(crate) fn memory_and_swap() -> Option<u64> {
    // SAFETY: numbers, for which zeroes are valid.
    let mut machine: libc::sysinfo = unsafe { std::mem::zeroed() };
    // SAFETY: writes the numbers.
    if unsafe { libc::sysinfo(&raw mut machine) } == -1 {
        return None;
    }
    let units = machine.totalram.saturating_add(machine.totalswap);
    Some(units.saturating_mul(machine.mem_unit.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_systems_limits_the_lower_is_named() {
        let of = |threads, pids| {
            tasks_of_system(|path| match path.ends_with("pid_max") {
                true => pids,
                false => threads,
            })
        };
        let [threads, pids] = ["threads-max", "pid_max"].map(|name| {
            let named = format!("/proc/sys/kernel/{name} is 400");
            move |said: Option<String>| assert_eq!(said.as_ref(), Some(&named))
        });
        pids(of(Some(192_730), Some(400)));
        threads(of(Some(400), Some(32_768)));
        threads(of(Some(400), None));
        assert_eq!(of(None, None), None);
    }
}
