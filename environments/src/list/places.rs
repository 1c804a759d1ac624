//! Mounts, namespaces and users.

use std::fs;
use std::io;
use std::path::Path;

use rustix::mount::MountFlags;

use super::{Environment, Expected, Need, PLAIN, Runs, limits};
use crate::filter;
use crate::place::{self, Start};

pub(super) const ALL: &[Environment] = &[
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
        name: "a /dev whose devices cannot be opened (nodev)",
        without: &[(
            "a_process_takes_its_children_along",
            "its shell opens /dev/null",
        )],
        needs: &[Need::Root],
        enter: |_| {
            place::own_mounts()?;
            place::small_dev()?;
            place::without_devices("/dev")
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
        name: "/proc with hidepid=ptraceable, an ordinary user",
        needs: &[Need::Root],
        enter: |_| {
            place::own_mounts()?;
            place::unshare(libc::CLONE_NEWPID)?;
            place::go_on_in_a_child()?;
            place::mount_proc(c"hidepid=ptraceable")?;
            place::become_user(20_021)
        },
        ..PLAIN
    },
    Environment {
        name: "/proc with subset=pid",
        quick: true,
        needs: &[Need::Root],
        enter: |_| {
            place::own_mounts()?;
            place::unshare(libc::CLONE_NEWPID)?;
            place::go_on_in_a_child()?;
            place::mount_proc(c"subset=pid")
        },
        ..PLAIN
    },
    Environment {
        name: "a read-only /proc",
        needs: &[Need::Root],
        enter: |_| {
            place::own_mounts()?;
            place::remount_read_only("/proc")
        },
        ..PLAIN
    },
    Environment {
        name: "no /sys",
        needs: &[Need::Root],
        enter: |_| {
            place::own_mounts()?;
            place::unmount("/sys")
        },
        ..PLAIN
    },
    Environment {
        name: "another root directory (chroot)",
        needs: &[Need::Root],
        enter: |start| {
            place::own_mounts()?;
            place::other_root(start)
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
        // The lowest 300 are not used again.
        name: "process ids that are soon used again (pid_max of 400)",
        without: limits::HUNDREDS,
        needs: &[Need::Root, Need::Kernel(6, 14)],
        enter: |_| {
            place::own_mounts()?;
            place::unshare(libc::CLONE_NEWPID)?;
            place::go_on_in_a_child()?;
            place::mount_proc(c"")?;
            fs::write("/proc/sys/kernel/pid_max", "400")
        },
        ..PLAIN
    },
    Environment {
        name: "vm.memfd_noexec of 2",
        quick: true,
        needs: &[Need::Root, Need::Kernel(6, 3)],
        enter: |_| {
            place::own_mounts()?;
            place::unshare(libc::CLONE_NEWPID)?;
            place::go_on_in_a_child()?;
            place::mount_proc(c"")?;
            fs::write("/proc/sys/vm/memfd_noexec", "2")
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
        name: "root of a user namespace with one user",
        quick: true,
        needs: &[Need::Root],
        enter: |_| {
            place::become_user(20_022)?;
            place::one_mapped_user()
        },
        ..PLAIN
    },
    Environment {
        name: "user and pid namespaces, five levels deep",
        needs: &[Need::Root],
        enter: |_| {
            place::become_user(20_023)?;
            place::nested_namespaces(5)
        },
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
        name: "no controlling terminal",
        enter: |_| {
            place::go_on_in_a_child()?;
            rustix::process::setsid()?;
            Ok(())
        },
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
