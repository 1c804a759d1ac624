//! The environments: what each is, and what is expected there.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::mount::MountFlags;
use rustix::process::Resource;

use crate::builds::Build;
use crate::filter;
use crate::place::{self, Start};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The test suites pass.
    Works,
    /// There are no processes, and the error has all these words in it. Threads work.
    Refused(&'static [&'static str]),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Runs {
    /// The checks, and the test suites.
    Suites,
    /// A program of the checks alone, with this argument.
    Checks(&'static str, &'static str),
}

/// What an environment needs of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    Root,
    /// A command, and the package that it is in.
    Command(&'static str, &'static str),
    /// The same for a file.
    File(&'static str, &'static str),
    /// A control group's controller.
    Controller(&'static str),
}

pub(crate) struct Environment {
    pub(crate) name: &'static str,
    /// Whether it is in the quick part.
    pub(crate) quick: bool,
    pub(crate) build: Build,
    pub(crate) runs: Runs,
    pub(crate) expected: Expected,
    pub(crate) needs: &'static [Need],
    /// Parts of names of tests that cannot be run there, and why. Told in the table.
    pub(crate) without: &'static [(&'static str, &'static str)],
    /// What is to be mended before it is as expected. It is tried, told and counted; no failure.
    pub(crate) known_fault: Option<&'static str>,
    /// Whether tests run one after another.
    pub(crate) one_by_one: bool,
    /// Moves this process there.
    pub(crate) enter: fn(&mut Start) -> io::Result<()>,
}

const PLAIN: Environment = Environment {
    name: "",
    quick: false,
    build: Build::Usual,
    runs: Runs::Suites,
    expected: Expected::Works,
    needs: &[],
    without: &[],
    known_fault: None,
    one_by_one: false,
    enter: |_| Ok(()),
};

const JEMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";
const MIMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2";
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// The loader of the C library, as programs name it.
const LOADER: &str = if cfg!(target_arch = "aarch64") {
    "/lib/ld-linux-aarch64.so.1"
} else {
    "/lib64/ld-linux-x86-64.so.2"
};
const EMULATOR: &str = if cfg!(target_arch = "aarch64") {
    "qemu-aarch64-static"
} else {
    "qemu-x86_64-static"
};

pub(crate) const ALL: &[Environment] = &[
    Environment {
        name: "as it is",
        quick: true,
        ..PLAIN
    },
    Environment {
        name: "static (static-pie)",
        build: Build::Static,
        ..PLAIN
    },
    Environment {
        name: "static, at a fixed address",
        build: Build::StaticFixed,
        ..PLAIN
    },
    Environment {
        name: "panic = \"abort\"",
        build: Build::Abort,
        runs: Runs::Checks("environments-checks", "contract"),
        ..PLAIN
    },
    Environment {
        name: "-C instrument-coverage",
        build: Build::Coverage,
        enter: |start| {
            let profiles = start.scratch.join("tmp/%p-%m.profraw");
            start.variable("LLVM_PROFILE_FILE", profiles);
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "-C instrument-coverage: workers write profiles",
        build: Build::Coverage,
        runs: Runs::Checks("environments-checks", "profile"),
        enter: |start| {
            let profiles = start.scratch.join("tmp/%p-%m.profraw");
            start.variable("LLVM_PROFILE_FILE", profiles);
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "/dev/shm of 64 KiB",
        quick: true,
        needs: &[Need::Root],
        enter: |_| {
            place::own_mounts()?;
            place::tmpfs("/dev/shm", c"mode=1777,size=64k")
        },
        ..PLAIN
    },
    Environment {
        name: "no /dev/shm",
        quick: true,
        needs: &[Need::Root],
        enter: |_| {
            place::own_mounts()?;
            place::small_dev()
        },
        ..PLAIN
    },
    Environment {
        name: "an empty /dev",
        without: &[(
            "a_process_takes_its_children_along",
            "its shell opens /dev/null",
        )],
        quick: true,
        needs: &[Need::Root],
        enter: |_| {
            place::own_mounts()?;
            place::tmpfs("/dev", c"mode=755")
        },
        ..PLAIN
    },
    Environment {
        name: "read-only root",
        quick: true,
        needs: &[Need::Root],
        enter: |start| {
            place::own_mounts()?;
            place::read_only(&start.scratch)
        },
        ..PLAIN
    },
    Environment {
        name: "/proc with hidepid=2, an ordinary user",
        quick: true,
        needs: &[Need::Root],
        enter: |_| {
            place::own_mounts()?;
            place::unshare(libc::CLONE_NEWPID)?;
            place::go_on_in_a_child()?;
            place::mount_proc(c"hidepid=2")?;
            place::become_user(20_001)
        },
        ..PLAIN
    },
    Environment {
        name: "no /proc",
        quick: true,
        needs: &[Need::Root],
        runs: Runs::Checks("environments-checks", "refused"),
        expected: Expected::Refused(&["/proc"]),
        enter: |_| {
            place::own_mounts()?;
            place::unmount("/proc")
        },
        ..PLAIN
    },
    Environment {
        name: "pid 1 of a pid namespace",
        quick: true,
        needs: &[Need::Root],
        enter: |_| {
            place::own_mounts()?;
            place::unshare(libc::CLONE_NEWPID)?;
            place::go_on_in_a_child()?;
            place::mount_proc(c"")
        },
        ..PLAIN
    },
    Environment {
        name: "a pid namespace with the outer /proc",
        without: &[(
            "the_fork_server_is_killed_while_nobody_looks",
            "the test itself finds it in /proc",
        )],
        quick: true,
        needs: &[Need::Root],
        enter: |_| {
            place::unshare(libc::CLONE_NEWPID)?;
            // The first is init, the second the program.
            place::go_on_in_a_child()?;
            place::go_on_in_a_child()
        },
        ..PLAIN
    },
    Environment {
        name: "a cgroup namespace with the outer mounts",
        needs: &[Need::Root],
        enter: |_| place::unshare(libc::CLONE_NEWCGROUP),
        ..PLAIN
    },
    Environment {
        name: "a time namespace",
        needs: &[Need::Root],
        enter: |_| place::other_times(),
        ..PLAIN
    },
    Environment {
        name: "a user namespace without a mapping",
        quick: true,
        enter: |_| place::unshare(libc::CLONE_NEWUSER),
        ..PLAIN
    },
    Environment {
        name: "an ordinary user",
        quick: true,
        needs: &[Need::Root],
        enter: |_| place::become_user(65_534),
        ..PLAIN
    },
    Environment {
        name: "deleted program",
        quick: true,
        enter: |start| {
            start.file = Some(fs::File::open(&start.program)?);
            fs::remove_file(&start.program)
        },
        ..PLAIN
    },
    Environment {
        name: "replaced program",
        quick: true,
        enter: |start| {
            start.file = Some(fs::File::open(&start.program)?);
            fs::remove_file(&start.program)?;
            fs::copy("/bin/true", &start.program).map(drop)
        },
        ..PLAIN
    },
    Environment {
        name: "a path that is not UTF-8",
        quick: true,
        enter: |start| {
            let name = OsString::from_vec(b"not \xff text\n\xfe".to_vec());
            let directory = start.scratch.join(name);
            fs::create_dir(&directory)?;
            let moved = directory.join(start.program.file_name().unwrap_or_default());
            fs::rename(&start.program, &moved)?;
            // A harness of tests cannot be called so: its first argument is to be text.
            start.file = Some(fs::File::open(moved)?);
            std::env::set_current_dir(directory)
        },
        ..PLAIN
    },
    Environment {
        name: "overlayfs",
        quick: true,
        needs: &[Need::Root],
        enter: |start| {
            place::own_mounts()?;
            place::overlay(start)
        },
        ..PLAIN
    },
    Environment {
        name: "jemalloc",
        needs: &[Need::File(JEMALLOC, "libjemalloc2")],
        enter: |start| {
            start.variable("LD_PRELOAD", JEMALLOC);
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "jemalloc with background threads",
        needs: &[Need::File(JEMALLOC, "libjemalloc2")],
        enter: |start| {
            start.variable("LD_PRELOAD", JEMALLOC);
            start.variable("MALLOC_CONF", "background_thread:true");
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "mimalloc",
        needs: &[Need::File(MIMALLOC, "libmimalloc2.0")],
        enter: |start| {
            start.variable("LD_PRELOAD", MIMALLOC);
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "500 threads",
        quick: true,
        enter: |start| {
            start.preload("threads_before_main");
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "a library that starts a thread in its constructor",
        quick: true,
        enter: |start| {
            start.preload("thread_in_constructor");
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "gdb",
        needs: &[Need::Command("gdb", "gdb")],
        enter: |start| {
            start.through(&[
                "gdb",
                "-q",
                "-batch",
                "-ex",
                "handle all nostop noprint pass",
                "-ex",
                "run",
                "-ex",
                "quit $_exitcode",
                "--args",
            ]);
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "strace",
        needs: &[Need::Command("strace", "strace")],
        enter: |start| {
            start.through(&["strace", "-f", "-q", "-o", "/dev/null"]);
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "libfaketime",
        needs: &[Need::File(FAKETIME, "faketime")],
        enter: |start| {
            start.variable("LD_PRELOAD", FAKETIME);
            start.variable("FAKETIME", "-100d");
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "`main` in C",
        quick: true,
        runs: Runs::Checks("main", "contract"),
        ..PLAIN
    },
    Environment {
        name: "through ld.so",
        quick: true,
        runs: Runs::Checks("environments-checks", "refused"),
        expected: Expected::Refused(&["ld"]),
        enter: |start| {
            start.through(&[LOADER]);
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "valgrind",
        needs: &[Need::Command("valgrind", "valgrind")],
        runs: Runs::Checks("environments-checks", "refused"),
        expected: Expected::Refused(&["valgrind"]),
        enter: |start| {
            start.through(&["valgrind", "-q"]);
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "qemu-user",
        needs: &[Need::Command(EMULATOR, "qemu-user-static")],
        runs: Runs::Checks("environments-checks", "refused"),
        expected: Expected::Refused(&["qemu"]),
        enter: |start| {
            start.through(&[EMULATOR]);
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "a plugin: in a shared library",
        quick: true,
        runs: Runs::Checks("plugin", "refused"),
        expected: Expected::Refused(&["shared library"]),
        enter: |start| {
            let library = start.libraries.join("library");
            start.arguments.push(library.into());
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_NOFILE of 256",
        one_by_one: true,
        enter: |_| place::limit(Resource::Nofile, 256),
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_NOFILE of 9",
        quick: true,
        runs: Runs::Checks("environments-checks", "refused"),
        expected: Expected::Refused(&["RLIMIT_NOFILE"]),
        enter: |_| place::limit(Resource::Nofile, 9),
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_AS of 4 GiB",
        one_by_one: true,
        enter: |_| place::limit(Resource::As, 4 << 30),
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_FSIZE of 256 MiB",
        quick: true,
        enter: |_| place::limit(Resource::Fsize, 256 << 20),
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_FSIZE of 4 KiB",
        quick: true,
        runs: Runs::Checks("environments-checks", "refused"),
        expected: Expected::Refused(&["RLIMIT_FSIZE"]),
        enter: |_| place::limit(Resource::Fsize, 4096),
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_NPROC of 100",
        one_by_one: true,
        needs: &[Need::Root],
        enter: |_| {
            place::limit(Resource::Nproc, 100)?;
            place::become_user(20_002)
        },
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_NPROC of 3",
        quick: true,
        needs: &[Need::Root],
        runs: Runs::Checks("environments-checks", "refused"),
        expected: Expected::Refused(&["RLIMIT_NPROC"]),
        enter: |_| {
            place::limit(Resource::Nproc, 3)?;
            place::become_user(20_003)
        },
        ..PLAIN
    },
    Environment {
        name: "pids.max of 100",
        without: &[(
            "hundreds_at_once_from_many_threads",
            "it starts more than that",
        )],
        one_by_one: true,
        needs: &[Need::Root, Need::Controller("pids")],
        enter: |start| place::control_group(&start.group, "pids", &[("pids.max", "100")]),
        ..PLAIN
    },
    Environment {
        name: "pids.max of 3",
        needs: &[Need::Root, Need::Controller("pids")],
        runs: Runs::Checks("environments-checks", "refused"),
        expected: Expected::Refused(&["pids.max"]),
        enter: |start| place::control_group(&start.group, "pids", &[("pids.max", "3")]),
        ..PLAIN
    },
    Environment {
        name: "64 MiB of memory: a host of 40, a task of 200",
        quick: true,
        needs: &[Need::Root, Need::Controller("memory")],
        runs: Runs::Checks("environments-checks", "memory"),
        enter: |start| {
            let limits = [
                ("memory.limit_in_bytes", "67108864"),
                ("memory.max", "67108864"),
                ("memory.swap.max", "0"),
            ];
            place::control_group(&start.group, "memory", &limits)
        },
        ..PLAIN
    },
    Environment {
        name: "one processor",
        quick: true,
        enter: |_| place::one_processor(),
        ..PLAIN
    },
    Environment {
        name: "no controlling terminal",
        enter: |_| {
            place::go_on_in_a_child()?;
            rustix::process::setsid()?;
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "seccomp: a container engine's profile",
        quick: true,
        needs: &[Need::Root],
        enter: |_| {
            place::become_user(20_004)?;
            filter::deny_all(&[libc::SYS_clone3], libc::ENOSYS)?;
            filter::deny_all(filter::CONTAINER, libc::EPERM)
        },
        ..PLAIN
    },
    Environment {
        name: "seccomp: a profile older than the newest calls",
        quick: true,
        enter: |_| filter::deny_all(filter::UNKNOWN_TO_OLD_PROFILES, libc::EPERM),
        ..PLAIN
    },
    Environment {
        name: "a bare container",
        needs: &[Need::Root],
        enter: bare_container,
        ..PLAIN
    },
];

/// Of its own in every respect: a root that can be read only, a /dev with the usual devices, a
/// small /dev/shm, /proc of its own, and an ordinary user as the first process.
fn bare_container(start: &mut Start) -> io::Result<()> {
    place::own_mounts()?;
    place::unshare(
        libc::CLONE_NEWPID
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWCGROUP,
    )?;
    place::go_on_in_a_child()?;
    place::mount("proc", "/proc", MountFlags::NOSUID | MountFlags::NODEV, c"")?;
    place::small_dev()?;
    fs::create_dir(Path::new("/dev/shm"))?;
    place::tmpfs("/dev/shm", c"mode=1777,size=64m")?;
    place::read_only(&start.scratch)?;
    place::become_user(20_005)?;
    filter::deny_all(filter::CONTAINER, libc::EPERM)
}
