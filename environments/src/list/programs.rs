//! What the program is, how it is built, and what runs it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use super::{Environment, Expected, Need, PLAIN, Runs};
use crate::builds::Build;
use crate::place;

const JEMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";
const MIMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2";
const TCMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4";
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

pub(super) const ALL: &[Environment] = &[
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
        name: "optimized as a whole, without symbols",
        build: Build::Stripped,
        runs: Runs::Checks("environments-checks", "contract"),
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
        name: "a program in memory (memfd)",
        quick: true,
        enter: place::in_memory,
        ..PLAIN
    },
    Environment {
        name: "a program whose file system was unmounted",
        needs: &[Need::Root],
        enter: |start| {
            place::own_mounts()?;
            place::unmounted(start)
        },
        ..PLAIN
    },
    Environment {
        name: "a path longer than PATH_MAX",
        enter: place::too_long_a_path,
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
        name: "tcmalloc",
        needs: &[Need::File(TCMALLOC, "libtcmalloc-minimal4")],
        enter: |start| {
            start.variable("LD_PRELOAD", TCMALLOC);
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "what is freed is written over (MALLOC_PERTURB_)",
        enter: |start| {
            start.variable("MALLOC_PERTURB_", "165");
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
        name: "fakeroot",
        needs: &[Need::Command("fakeroot", "fakeroot")],
        enter: |start| {
            start.through(&["fakeroot"]);
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "bubblewrap, all namespaces and no capabilities",
        needs: &[Need::Root, Need::Command("bwrap", "bubblewrap")],
        enter: |start| {
            let scratch = start.scratch.clone();
            let words = "bwrap --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp --unshare-all \
                         --new-session --die-with-parent --cap-drop ALL --bind";
            start.through(
                &words
                    .split(' ')
                    .filter(|w| !w.is_empty())
                    .collect::<Vec<_>>(),
            );
            start
                .through
                .extend([scratch.clone().into(), scratch.into()]);
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "proot",
        needs: &[Need::Command("proot", "proot")],
        runs: Runs::Checks("environments-checks", "refused"),
        expected: Expected::Refused(&["proot"]),
        enter: |start| {
            start.through(&["proot"]);
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "libfaketime (FAKETIME_DONT_FAKE_MONOTONIC=1)",
        needs: &[Need::File(FAKETIME, "faketime")],
        enter: |start| {
            start.variable("LD_PRELOAD", FAKETIME);
            start.variable("FAKETIME", "-100d");
            // Else std's waits with a limit are for ever, whatever the program is.
            start.variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
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
];
