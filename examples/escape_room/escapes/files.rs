//! Files, and what can be learnt and changed about them.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;

use brigade::sandbox::Effect::Files;

use super::{Escape, Outside, call, text};

pub(super) const ESCAPES: &[Escape] = &[
    Escape::new(Files, "read /etc/passwd", |_| {
        fs::read("/etc/passwd").map(drop)
    }),
    Escape::new(Files, "read a file", |o| fs::read(file(o)).map(drop)),
    Escape::new(Files, "open a file by open(2)", open_old),
    Escape::new(Files, "open a file by openat2(2)", open_two),
    Escape::new(
        Files,
        "open a file as a path, and ask for its metadata",
        open_path,
    ),
    Escape::new(
        Files,
        "open a file as a path by openat2(2), and ask for its metadata",
        open_path_two,
    ),
    Escape::new(
        Files,
        "open a file neither to read nor to write, and ask for its metadata",
        open_neither,
    ),
    Escape::new(Files, "write to a file", |o| {
        fs::OpenOptions::new().write(true).open(file(o)).map(drop)
    }),
    Escape::new(Files, "create a file", |o| {
        fs::write(new(o, "created"), "x")
    }),
    Escape::new(Files, "create in /dev/shm", create_in_shm),
    Escape::new(Files, "create a file without a name", create_nameless),
    Escape::new(Files, "remove a file", |o| {
        fs::remove_file(made(o, "removed")?)
    }),
    Escape::new(Files, "rename a file", |o| {
        fs::rename(made(o, "renamed")?, new(o, "renamed-to"))
    }),
    Escape::new(Files, "link a file", |o| {
        fs::hard_link(made(o, "linked")?, new(o, "linked-to"))
    }),
    Escape::new(Files, "make a symbolic link", |o| {
        std::os::unix::fs::symlink("x", new(o, "symbolic"))
    }),
    Escape::new(Files, "make a directory", |o| {
        fs::create_dir(new(o, "made"))
    }),
    Escape::new(Files, "make a pipe with a name", make_pipe),
    Escape::new(Files, "list a directory", |o| {
        fs::read_dir(&o.directory).map(drop)
    }),
    Escape::new(Files, "enter a directory", |o| {
        std::env::set_current_dir(&o.directory)
    }),
    Escape::new(Files, "truncate a file", truncate),
    Escape::new(Files, "metadata", |o| fs::metadata(file(o)).map(drop)),
    Escape::new(Files, "metadata of a link", |o| {
        fs::symlink_metadata(file(o)).map(drop)
    }),
    Escape::new(Files, "metadata by stat(2)", stat_old),
    Escape::new(Files, "metadata by statx(2)", statx),
    Escape::new(
        Files,
        "metadata by a path with AT_EMPTY_PATH",
        stat_not_empty,
    ),
    Escape::new(Files, "what a link points to", |_| {
        fs::read_link("/proc/self/exe").map(drop)
    }),
    Escape::new(Files, "whether a file is there", access),
    Escape::new(
        Files,
        "whether a file is there, by faccessat2(2)",
        access_two,
    ),
    Escape::new(Files, "change permissions", |o| {
        fs::set_permissions(file(o), PermissionsExt::from_mode(0o666))
    }),
    Escape::new(Files, "change an owner", chown).privileged(),
    Escape::new(Files, "change times", utimes),
    Escape::new(Files, "set an attribute", setxattr).privileged(),
    Escape::new(Files, "read an attribute", getxattr).privileged(),
    Escape::new(Files, "the file system's metadata", statfs),
    Escape::new(Files, "watch a directory", watch),
    Escape::new(Files, "open a file by a handle", handle).privileged(),
    Escape::new(Files, "read its own environment as it began", |_| {
        fs::read("/proc/self/environ").map(drop)
    }),
    Escape::new(Files, "read the memory of the program as a file", |o| {
        fs::read(format!("/proc/{}/maps", o.host)).map(drop)
    }),
    Escape::new(Files, "read the status of a sibling", |o| {
        fs::read(format!("/proc/{}/status", o.sibling)).map(drop)
    }),
    Escape::new(Files, "make the program the first to be killed", |o| {
        let path = format!("/proc/{}/oom_score_adj", o.host);
        fs::OpenOptions::new().write(true).open(path).map(drop)
    }),
    Escape::new(Files, "open a file as a tree of mounts", open_tree),
    Escape::new(Files, "list what is mounted", list_mounts).privileged(),
    Escape::new(Files, "the context of a file system", |_| {
        call!(SYS_fsopen, c"tmpfs".as_ptr(), 0).map(drop)
    })
    .privileged(),
    Escape::new(Files, "watch by fanotify(7)", |_| {
        const REPORT_FID: u32 = 0x200;
        call!(SYS_fanotify_init, REPORT_FID, 0).map(drop)
    })
    .privileged(),
    Escape::new(Files, "write quotas back", |_| {
        const SYNC: u32 = 0x0080_0001 << 8;
        let none = std::ptr::null::<u8>();
        call!(SYS_quotactl, SYNC, none, 0, none).map(drop)
    })
    .privileged(),
    Escape::new(Files, "hold up those who open a file", lease).privileged(),
    Escape::new(Files, "change its root directory", chroot).privileged(),
    Escape::new(Files, "mount", mount).privileged(),
    Escape::new(Files, "change the mounts of a new namespace", |_| {
        unshare(libc::CLONE_NEWNS)
    })
    .privileged(),
];

fn file(outside: &Outside) -> String {
    format!("{}/file", outside.directory)
}

/// A name that nobody else uses: attempts run at the same time.
fn new(outside: &Outside, name: &str) -> String {
    format!("{}/{name}-{}", outside.directory, std::process::id())
}

/// A file to do something to; in a sandbox it is the one that is there.
fn made(outside: &Outside, name: &str) -> io::Result<String> {
    let path = new(outside, name);
    match fs::write(&path, "x") {
        Ok(()) => Ok(path),
        Err(_) => Ok(file(outside)),
    }
}

#[cfg(target_arch = "x86_64")]
fn open_old(outside: &Outside) -> io::Result<()> {
    call!(SYS_open, text(&file(outside)).as_ptr(), libc::O_RDONLY, 0).map(drop)
}
#[cfg(not(target_arch = "x86_64"))]
fn open_old(outside: &Outside) -> io::Result<()> {
    fs::File::open(file(outside)).map(drop)
}

fn open_two(outside: &Outside) -> io::Result<()> {
    let how = [libc::O_RDONLY as u64, 0, 0];
    let path = text(&file(outside));
    call!(
        SYS_openat2,
        libc::AT_FDCWD,
        path.as_ptr(),
        how.as_ptr(),
        size_of_val(&how)
    )
    .map(drop)
}

fn open_path(outside: &Outside) -> io::Result<()> {
    let path = text(&file(outside));
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let opened = call!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0)?;
    let mut metadata = [0_u64; 32];
    call!(SYS_fstat, opened, metadata.as_mut_ptr()).map(drop)
}

fn open_path_two(outside: &Outside) -> io::Result<()> {
    let how = [libc::O_PATH as u64, 0, 0];
    let path = text(&file(outside));
    let opened = call!(
        SYS_openat2,
        libc::AT_FDCWD,
        path.as_ptr(),
        how.as_ptr(),
        size_of_val(&how)
    )?;
    let mut metadata = [0_u64; 32];
    call!(SYS_fstat, opened, metadata.as_mut_ptr()).map(drop)
}

/// The fourth of open(2)'s modes.
fn open_neither(outside: &Outside) -> io::Result<()> {
    let path = text(&file(outside));
    let opened = call!(
        SYS_openat,
        libc::AT_FDCWD,
        path.as_ptr(),
        libc::O_ACCMODE,
        0
    )?;
    let mut metadata = [0_u64; 32];
    call!(SYS_fstat, opened, metadata.as_mut_ptr()).map(drop)
}

fn create_in_shm(_: &Outside) -> io::Result<()> {
    let path = format!("/dev/shm/brigade-escape-{}", std::process::id());
    fs::write(&path, "x")?;
    fs::remove_file(&path)
}

fn create_nameless(outside: &Outside) -> io::Result<()> {
    let path = text(&outside.directory);
    let flags = libc::O_TMPFILE | libc::O_RDWR;
    call!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o600).map(drop)
}

fn make_pipe(outside: &Outside) -> io::Result<()> {
    let path = text(&new(outside, "pipe"));
    call!(
        SYS_mknodat,
        libc::AT_FDCWD,
        path.as_ptr(),
        libc::S_IFIFO | 0o600,
        0
    )
    .map(drop)
}

fn truncate(outside: &Outside) -> io::Result<()> {
    let path = text(&made(outside, "truncated")?);
    call!(SYS_truncate, path.as_ptr(), 0).map(drop)
}

#[cfg(target_arch = "x86_64")]
fn stat_old(outside: &Outside) -> io::Result<()> {
    let mut metadata = [0_u64; 32];
    call!(
        SYS_stat,
        text(&file(outside)).as_ptr(),
        metadata.as_mut_ptr()
    )
    .map(drop)
}
#[cfg(not(target_arch = "x86_64"))]
fn stat_old(outside: &Outside) -> io::Result<()> {
    fs::metadata(file(outside)).map(drop)
}

fn statx(outside: &Outside) -> io::Result<()> {
    let mut metadata = [0_u64; 64];
    let path = text(&file(outside));
    call!(
        SYS_statx,
        libc::AT_FDCWD,
        path.as_ptr(),
        0,
        0xfff,
        metadata.as_mut_ptr()
    )
    .map(drop)
}

/// That flag is for a file that is open, and does nothing to a path that is not empty.
fn stat_not_empty(outside: &Outside) -> io::Result<()> {
    let mut metadata = [0_u64; 32];
    let path = text(&file(outside));
    call!(
        SYS_newfstatat,
        libc::AT_FDCWD,
        path.as_ptr(),
        metadata.as_mut_ptr(),
        libc::AT_EMPTY_PATH
    )
    .map(drop)
}

fn access(outside: &Outside) -> io::Result<()> {
    let path = text(&file(outside));
    call!(SYS_faccessat, libc::AT_FDCWD, path.as_ptr(), libc::F_OK).map(drop)
}

fn access_two(outside: &Outside) -> io::Result<()> {
    let path = text(&file(outside));
    call!(SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), libc::F_OK, 0).map(drop)
}

fn chown(outside: &Outside) -> io::Result<()> {
    let path = text(&made(outside, "owned")?);
    call!(
        SYS_fchownat,
        libc::AT_FDCWD,
        path.as_ptr(),
        libc::getuid(),
        libc::getgid(),
        0
    )
    .map(drop)
}

fn utimes(outside: &Outside) -> io::Result<()> {
    let path = text(&file(outside));
    let now = std::ptr::null::<u64>();
    call!(SYS_utimensat, libc::AT_FDCWD, path.as_ptr(), now, 0).map(drop)
}

fn setxattr(outside: &Outside) -> io::Result<()> {
    let path = text(&file(outside));
    call!(
        SYS_setxattr,
        path.as_ptr(),
        c"user.brigade".as_ptr(),
        c"x".as_ptr(),
        1,
        0
    )
    .map(drop)
}

fn getxattr(outside: &Outside) -> io::Result<()> {
    let path = text(&file(outside));
    let mut value = [0_u8; 8];
    let name = c"user.brigade".as_ptr();
    call!(
        SYS_getxattr,
        path.as_ptr(),
        name,
        value.as_mut_ptr(),
        value.len()
    )
    .map(drop)
}

fn statfs(_: &Outside) -> io::Result<()> {
    let mut metadata = [0_u64; 64];
    call!(SYS_statfs, c"/".as_ptr(), metadata.as_mut_ptr()).map(drop)
}

fn watch(outside: &Outside) -> io::Result<()> {
    let watching = call!(SYS_inotify_init1, 0)?;
    let path = text(&outside.directory);
    call!(
        SYS_inotify_add_watch,
        watching,
        path.as_ptr(),
        libc::IN_ALL_EVENTS
    )
    .map(drop)
}

fn handle(outside: &Outside) -> io::Result<()> {
    // `struct file_handle`: how many bytes there is room for, their kind, and they.
    let mut handle = [0_u32; 34];
    handle[0] = 128;
    let mut mount = 0;
    let path = text(&file(outside));
    call!(
        SYS_name_to_handle_at,
        libc::AT_FDCWD,
        path.as_ptr(),
        handle.as_mut_ptr(),
        &raw mut mount,
        0
    )?;
    let directory = fs::File::open("/")?;
    call!(
        SYS_open_by_handle_at,
        directory.as_raw_fd(),
        handle.as_mut_ptr(),
        libc::O_RDONLY
    )
    .map(drop)
}

fn open_tree(outside: &Outside) -> io::Result<()> {
    let path = text(&file(outside));
    let flags = libc::O_CLOEXEC;
    let opened = call!(SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags)?;
    let mut metadata = [0_u64; 32];
    call!(SYS_fstat, opened, metadata.as_mut_ptr()).map(drop)
}

fn list_mounts(_: &Outside) -> io::Result<()> {
    /// listmount(2), since Linux 6.8.
    const LISTMOUNT: libc::c_long = 458;
    // `struct mnt_id_req`: its size, the root of all mounts, and where to begin.
    let request = [24_u64, u64::MAX, 0];
    let mut ids = [0_u64; 8];
    // SAFETY: both are there, and of the sizes that are told.
    let listed =
        unsafe { libc::syscall(LISTMOUNT, request.as_ptr(), ids.as_mut_ptr(), ids.len(), 0) };
    super::said(listed).map(drop)
}

/// fcntl(2): who opens the file otherwise waits until the lease is given up.
fn lease(outside: &Outside) -> io::Result<()> {
    let path = made(outside, "leased")?;
    // In a sandbox there is none: the call is tried on what there is.
    let file = fs::File::open(path);
    let descriptor = file.as_ref().map_or(1, AsRawFd::as_raw_fd);
    call!(SYS_fcntl, descriptor, libc::F_SETLEASE, libc::F_RDLCK).map(drop)
}

fn chroot(outside: &Outside) -> io::Result<()> {
    call!(SYS_chroot, text(&outside.directory).as_ptr()).map(drop)
}

fn mount(outside: &Outside) -> io::Result<()> {
    // In a namespace of its own, so that nothing is mounted outside where it succeeds.
    unshare(libc::CLONE_NEWNS)?;
    let private = libc::MS_REC | libc::MS_PRIVATE;
    let (none, root) = (std::ptr::null::<libc::c_char>(), c"/".as_ptr());
    call!(SYS_mount, none, root, none, private, none)?;
    let at = text(&outside.directory);
    call!(
        SYS_mount,
        c"none".as_ptr(),
        at.as_ptr(),
        c"tmpfs".as_ptr(),
        0,
        none
    )
    .map(drop)
}

fn unshare(namespace: i32) -> io::Result<()> {
    call!(SYS_unshare, namespace).map(drop)
}
