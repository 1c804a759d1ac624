//! How a process moves into an environment: unshare(2), mount(2), setrlimit(2), control groups.
//! Each of these is done by a process with one thread that is about to become the program tried.

use std::ffi::{CStr, CString, OsString};
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{Resource, Rlimit};

/// What is about to be started.
#[derive(Debug)]
pub(crate) struct Start {
    /// A copy of the program that is this run's own.
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// What runs it, with arguments: a debugger, say.
    pub(crate) through: Vec<OsString>,
    /// What it is called, as its first argument says, where that is not its path.
    pub(crate) name: Option<OsString>,
    /// Variables beside those of this process.
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// Whether it has none of this process's.
    pub(crate) no_environment: bool,
    /// The file itself, where its path means another or none.
    pub(crate) file: Option<fs::File>,
    /// This run's own directory.
    pub(crate) scratch: PathBuf,
    /// Where libraries are that the environments load.
    pub(crate) libraries: PathBuf,
    /// The name of this run's control groups.
    pub(crate) group: String,
}

impl Start {
    /// Becomes the program. Gives why not.
    pub(crate) fn exec(mut self) -> io::Error {
        if let Some(file) = self.file.take() {
            return self.exec_file(&file);
        }
        self.through.push(self.program.into());
        let mut command = Command::new(&self.through[0]);
        if let Some(name) = self.name {
            command.arg0(name);
        }
        if self.no_environment {
            command.env_clear();
        }
        command
            .args(&self.through[1..])
            .args(self.arguments)
            .envs(self.variables);
        command.exec()
    }

    /// Starts a file that is open: its path is what it is called only. Signals stay as they are:
    /// `Command` would unblock all of them.
    fn exec_file(self, file: &fs::File) -> io::Error {
        let text = |bytes: &[u8]| CString::new(bytes).unwrap_or_default();
        let name = self.name.unwrap_or(self.program.into());
        let argv: Vec<CString> = std::iter::once(text(name.as_bytes()))
            .chain(self.arguments.iter().map(|a| text(a.as_bytes())))
            .collect();
        let inherited = std::env::vars_os().filter(|_| !self.no_environment);
        let envp: Vec<CString> = inherited
            .chain(self.variables)
            .map(|(key, value)| text(&[key.as_bytes(), b"=", value.as_bytes()].concat()))
            .collect();
        let pointers = |strings: &[CString]| {
            let all = strings.iter().map(|s| s.as_ptr());
            all.chain([std::ptr::null()]).collect::<Vec<_>>()
        };
        let (argv, envp) = (pointers(&argv), pointers(&envp));
        // SAFETY: both are arrays of C strings that end with a null pointer, and outlive the call.
        unsafe { libc::fexecve(file.as_raw_fd(), argv.as_ptr(), envp.as_ptr()) };
        io::Error::last_os_error()
    }

    /// Has the program started by its file and not by its path, with signals as they are.
    pub(crate) fn as_a_file(&mut self) -> io::Result<()> {
        self.file = Some(fs::File::open(&self.program)?);
        Ok(())
    }

    pub(crate) fn through(&mut self, words: &[&str]) {
        self.through = words.iter().map(|&word| word.into()).collect();
    }

    pub(crate) fn variable(&mut self, key: &str, value: impl Into<OsString>) {
        self.variables.push((key.into(), value.into()));
    }

    /// Loads a library before all others.
    pub(crate) fn preload(&mut self, library: &str) {
        let library = self.libraries.join(library);
        self.variable("LD_PRELOAD", library);
    }
}

/// Leaves namespaces: `CLONE_NEWPID` and so on.
pub(crate) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory is shared with another thread, for there is none.
    match unsafe { libc::unshare(flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Goes on in a child, which is in the namespaces that this process has set for its children. This
/// one ends as it does. In a new pid namespace the child is the first process.
pub(crate) fn go_on_in_a_child() -> io::Result<()> {
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: no memory is involved.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            Ok(())
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for the child made above, and writes to `status`.
            while unsafe { libc::waitpid(child, &raw mut status, 0) } == -1 {}
            let code = if libc::WIFEXITED(status) {
                libc::WEXITSTATUS(status)
            } else {
                128 + libc::WTERMSIG(status)
            };
            // SAFETY: does not return. There is nothing to be flushed or dropped here.
            unsafe { libc::_exit(code) }
        }
    }
}

/// A mount namespace in which nothing that is mounted from here on is seen elsewhere.
pub(crate) fn own_mounts() -> io::Result<()> {
    unshare(libc::CLONE_NEWNS)?;
    let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change("/", all)?)
}

pub(crate) fn mount(
    kind: &str,
    at: impl AsRef<Path>,
    flags: MountFlags,
    options: &CStr,
) -> io::Result<()> {
    Ok(rustix::mount::mount(
        kind,
        at.as_ref(),
        kind,
        flags,
        options,
    )?)
}

/// This process is root of a user namespace that has one user, who is the one that it was.
pub(crate) fn one_mapped_user() -> io::Result<()> {
    // SAFETY: numbers, and a flag that lets this process write its own files in /proc.
    let (user, group) = unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 1);
        (libc::getuid(), libc::getgid())
    };
    unshare(libc::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// The same, in a user and a pid namespace that are so many levels deep.
pub(crate) fn nested_namespaces(levels: usize) -> io::Result<()> {
    for _ in 0..levels {
        one_mapped_user()?;
        unshare(libc::CLONE_NEWPID)?;
        go_on_in_a_child()?;
    }
    Ok(())
}

/// Devices below this directory cannot be opened.
pub(crate) fn without_devices(at: &str) -> io::Result<()> {
    let flags = MountFlags::BIND | MountFlags::NODEV;
    Ok(rustix::mount::mount_remount(at, flags, c"")?)
}

/// What is mounted there can only be read.
pub(crate) fn remount_read_only(at: &str) -> io::Result<()> {
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    Ok(rustix::mount::mount_remount(at, flags, c"")?)
}

/// The root directory is another one, in which everything is as before.
pub(crate) fn other_root(start: &Start) -> io::Result<()> {
    let root = start.scratch.join("root");
    fs::create_dir(&root)?;
    rustix::mount::mount_bind_recursive("/", &root)?;
    std::env::set_current_dir(&root)?;
    rustix::process::chroot(".")?;
    Ok(())
}

/// /proc of the pid namespace that this process is in.
pub(crate) fn mount_proc(options: &CStr) -> io::Result<()> {
    mount("proc", "/proc", MountFlags::empty(), options)
}

pub(crate) fn unmount(at: &str) -> io::Result<()> {
    Ok(rustix::mount::unmount(at, UnmountFlags::DETACH)?)
}

/// A file system of memory, for everybody.
pub(crate) fn tmpfs(at: impl AsRef<Path>, options: &CStr) -> io::Result<()> {
    mount("tmpfs", at, MountFlags::empty(), options)
}

/// A /dev with the usual devices, and no directory in it.
pub(crate) fn small_dev() -> io::Result<()> {
    const DEVICES: [(&str, u32); 5] = [
        ("null", 3),
        ("zero", 5),
        ("full", 7),
        ("random", 8),
        ("urandom", 9),
    ];
    tmpfs("/dev", c"mode=755")?;
    for (name, minor) in DEVICES {
        let path = Path::new("/dev").join(name);
        let kind = rustix::fs::FileType::CharacterDevice;
        let device = rustix::fs::makedev(1, minor);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, 0o666.into(), device)?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    }
    Ok(())
}

/// Everything that is mounted can be read only, but for this run's directory.
pub(crate) fn read_only(writable: &Path) -> io::Result<()> {
    tmpfs(writable.join("tmp"), c"mode=1777")?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    // Inner mounts come later, and hide what is below them: so outer ones go last.
    for at in mounts
        .lines()
        .rev()
        .filter_map(|line| line.split(' ').nth(1))
    {
        if at.starts_with("/proc") || at.starts_with("/dev") || Path::new(at).starts_with(writable)
        {
            continue;
        }
        let flags = MountFlags::BIND | MountFlags::RDONLY;
        match rustix::mount::mount_remount(at, flags, c"") {
            // A mount point that another mount hides.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) if at != "/" => {}
            other => other?,
        }
    }
    Ok(())
}

/// The program, on an overlay.
pub(crate) fn overlay(start: &mut Start) -> io::Result<()> {
    let base = start.scratch.join("overlay");
    fs::create_dir(&base)?;
    tmpfs(&base, c"mode=755")?;
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| base.join(name));
    for directory in [&upper, &work, &merged] {
        fs::create_dir(directory)?;
    }
    let lower = start.program.parent().unwrap_or(Path::new("/"));
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let options = CString::new(options)?;
    mount("overlay", &merged, MountFlags::empty(), &options)?;
    let name = start.program.file_name().unwrap_or_default().to_owned();
    start.program = merged.join(name);
    Ok(())
}

/// The program in a memory file, which has no path and no other reader.
pub(crate) fn in_memory(start: &mut Start) -> io::Result<()> {
    let memory = rustix::fs::memfd_create("program", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut memory = fs::File::from(memory);
    io::copy(&mut fs::File::open(&start.program)?, &mut memory)?;
    // One that may be written cannot be executed.
    start.file = Some(fs::File::open(format!(
        "/proc/self/fd/{}",
        memory.as_raw_fd()
    ))?);
    fs::remove_file(&start.program)
}

/// The program in a file system that is mounted nowhere any more.
pub(crate) fn unmounted(start: &mut Start) -> io::Result<()> {
    let base = start.scratch.join("unmounted");
    fs::create_dir(&base)?;
    tmpfs(&base, c"mode=755")?;
    let own = base.join(start.program.file_name().unwrap_or_default());
    fs::copy(&start.program, &own)?;
    start.file = Some(fs::File::open(&own)?);
    start.program = own;
    Ok(rustix::mount::unmount(&base, UnmountFlags::DETACH)?)
}

/// The program at a path that is longer than any that can be asked for: PATH_MAX.
pub(crate) fn too_long_a_path(start: &mut Start) -> io::Result<()> {
    const LEVELS: usize = 25;
    let from = start.program.clone();
    let name = from.file_name().unwrap_or_default();
    std::env::set_current_dir(&start.scratch)?;
    for _ in 0..LEVELS {
        let level = "long".repeat(50);
        fs::create_dir(&level)?;
        std::env::set_current_dir(level)?;
    }
    fs::copy(&from, name)?;
    start.program = Path::new(".").join(name);
    Ok(())
}

/// Another user, without capabilities and supplementary groups. To be what it may do for good, it
/// has to be done last.
pub(crate) fn become_user(id: u32) -> io::Result<()> {
    // SAFETY: no memory is involved but an empty list; there is one thread.
    let done = unsafe {
        libc::setgroups(0, std::ptr::null()) == 0
            && libc::setresgid(id, id, id) == 0
            && libc::setresuid(id, id, id) == 0
    };
    if !done {
        return Err(io::Error::last_os_error());
    }
    // Cleared by the change of user; /proc/self is root's without it: PR_SET_DUMPABLE(2const). The
    // exec sets it.
    Ok(())
}

/// Both limits, the soft and the hard one.
pub(crate) fn limit(resource: Resource, to: u64) -> io::Result<()> {
    let both = Rlimit {
        current: Some(to),
        maximum: Some(to),
    };
    Ok(rustix::process::setrlimit(resource, both)?)
}

/// Neither a soft nor a hard limit.
pub(crate) fn no_limit(resource: Resource) -> io::Result<()> {
    let none = Rlimit {
        current: None,
        maximum: None,
    };
    Ok(rustix::process::setrlimit(resource, none)?)
}

/// The first processor that this process may run on, and no other.
pub(crate) fn one_processor() -> io::Result<()> {
    let may = rustix::thread::sched_getaffinity(None)?;
    let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|&n| may.is_set(n));
    let mut one = rustix::thread::CpuSet::new();
    one.set(first.unwrap_or(0));
    Ok(rustix::thread::sched_setaffinity(None, &one)?)
}

/// Times of the boot and of the monotonic clock that are ten days ahead, for children:
/// time_namespaces(7).
pub(crate) fn other_times() -> io::Result<()> {
    unshare(libc::CLONE_NEWTIME)?;
    fs::write(
        "/proc/self/timens_offsets",
        "monotonic 864000 0\nboottime 864000 0\n",
    )?;
    go_on_in_a_child()
}

/// Where a control group of this controller can be made: its hierarchy's root, in cgroups v1 or v2.
pub(crate) fn controller(name: &str) -> Option<PathBuf> {
    let first = Path::new("/sys/fs/cgroup").join(name);
    if first.join("cgroup.procs").exists() {
        return Some(first);
    }
    let second = Path::new("/sys/fs/cgroup");
    let enabled = fs::read_to_string(second.join("cgroup.subtree_control")).ok()?;
    enabled
        .split_whitespace()
        .any(|enabled| enabled == name)
        .then(|| second.to_owned())
}

/// Moves into a control group of this run's own. `limits`: files of either version, of which at
/// least one must be there.
pub(crate) fn control_group(group: &str, name: &str, limits: &[(&str, &str)]) -> io::Result<()> {
    let missing = || io::Error::other(format!("there is no controller {name}"));
    let own = controller(name).ok_or_else(missing)?.join(group);
    fs::create_dir(&own)?;
    let mut set = 0;
    for (file, value) in limits {
        if own.join(file).exists() {
            fs::write(own.join(file), value)?;
            set += 1;
        }
    }
    if set == 0 {
        return Err(missing());
    }
    fs::write(own.join("cgroup.procs"), "0")
}

/// Removes this run's control groups, when no process is in them any more.
pub(crate) fn remove_groups(group: &str) {
    for name in ["cpu", "memory", "pids"] {
        if let Some(own) = controller(name).map(|root| root.join(group)) {
            // Most runs have none.
            let _ = fs::remove_dir(own);
        }
    }
}
