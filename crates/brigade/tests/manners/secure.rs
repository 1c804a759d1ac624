//! Programs with more privilege than who started them: they get no processes, and nobody can make
//! them a fork server.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use brigade::{Kind, Pool, process, thread};
use libtest_mimic::Trial;

use crate::hosts::{Host, double, spawn_works};
use crate::observe::check;
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] = &[
    ("secure", secure),
    ("secure-dropped", dropped),
    ("secure-kept", |_| {
        brigade::init();
        spawn_works()
    }),
];

/// Anybody but root.
pub(crate) const NOBODY: u32 = 65534;

/// How a program gets more privilege than who starts it.
const WAYS: [(&str, u32, bool); 3] = [
    ("setuid", 0o4755, false),
    ("setgid", 0o2755, false),
    ("capabilities", 0o755, true),
];

pub(crate) fn trials() -> Vec<Trial> {
    let mut all = Vec::new();
    for (way, mode, capabilities) in WAYS {
        let copy = move || Copy::new(way, mode, capabilities);
        all.push(trial(&format!("{way}: it gets no processes"), move || {
            let Some(copy) = copy() else { return };
            // A crash file that would be replayed, if there was no privilege.
            let output = copy.run_as_nobody("secure", |c| c.env("BRIGADE_REPLAY", "/nonexistent"));
            let output = check("secure", output);
            let out = String::from_utf8_lossy(&output.stdout);
            assert!(
                out.contains("more privilege than the user who started it"),
                "{out}"
            );
        }));
        all.push(trial(
            &format!("{way}: nobody makes it a fork server"),
            move || {
                let Some(copy) = copy() else { return };
                const MARKER: &str = concat!("BRIGADE_FORK_SERVER_", env!("CARGO_PKG_VERSION"));
                for number in ["0", "3", ""] {
                    let output = copy.run_as_nobody("secure", |c| c.env(MARKER, number));
                    let err = String::from_utf8_lossy(&output.stderr);
                    assert_eq!(output.status.code(), Some(70), "{output:?}");
                    assert!(output.stdout.is_empty(), "{output:?}");
                    assert!(err.contains("more privilege"), "{err}");
                }
            },
        ));
        all.push(trial(
            &format!("{way}: one that drops what root gave it gets none back"),
            move || {
                let Some(copy) = copy() else { return };
                check("secure-dropped", copy.run("secure-dropped", |c| c));
            },
        ));
        // It says so of a file with capabilities even where it does not grant them.
        if capabilities {
            continue;
        }
        all.push(trial(
            &format!("{way}: where the kernel does not heed that, processes work"),
            move || {
                let Some(copy) = copy() else { return };
                let output = copy.run_as_nobody("secure-kept", |c| {
                    // SAFETY: one system call.
                    unsafe {
                        c.pre_exec(|| {
                            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                            Ok(())
                        })
                    }
                });
                check("secure-kept", output);
            },
        ));
    }
    all
}

/// Says why a test is not run.
pub(crate) fn skip(why: &str) {
    eprintln!("skipped, because {why}");
}

/// A copy of this program with a privilege.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Copy {
    /// `None`: here it cannot be made, which is said.
    fn new(way: &str, mode: u32, capabilities: bool) -> Option<Copy> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            skip("only root can give a program privileges");
            return None;
        }
        let name = format!(
            "brigade-{way}-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        // By another process: a file that this one had open to write would be busy as a program
        // while a child of another test, just forked, has it too.
        let exe = std::env::current_exe().expect("this program");
        let copied = Command::new("/bin/cp").arg(exe).arg(&path).status();
        assert!(copied.expect("cp starts").success());
        let copy = Copy(path);
        std::fs::set_permissions(&copy.0, std::fs::Permissions::from_mode(mode)).expect("chmod");
        assert_eq!(copy.0.metadata().expect("is there").uid(), 0);
        if capabilities {
            // Version 2, effective; permitted: CAP_NET_BIND_SERVICE. capabilities(7).
            let words: [u32; 5] = [0x0200_0001, 1 << 10, 0, 0, 0];
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            let flags = rustix::fs::XattrFlags::empty();
            if let Err(e) = rustix::fs::setxattr(&copy.0, "security.capability", &bytes, flags) {
                skip(&format!("the file system keeps no capabilities: {e}"));
                return None;
            }
        }
        // A file system may be mounted so that it heeds none of that.
        let tried = copy.run_as_nobody("secure", |c| c);
        if String::from_utf8_lossy(&tried.stdout).contains("AT_SECURE 0") {
            skip("the file system is mounted with nosuid");
            return None;
        }
        Some(copy)
    }

    fn run(&self, host: &str, change: impl FnOnce(&mut Command) -> &mut Command) -> Output {
        let mut command = Command::new(&self.0);
        command.args(["--host", host]).current_dir("/");
        change(&mut command).output().expect("starts")
    }

    fn run_as_nobody(
        &self,
        host: &str,
        change: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Output {
        self.run(host, |c| change(c.uid(NOBODY).gid(NOBODY)))
    }
}

type Ended = Result<(), Box<dyn std::error::Error>>;

fn secure(_: &[String]) -> Ended {
    brigade::init();
    // SAFETY: no memory is involved.
    println!("AT_SECURE {}", unsafe { libc::getauxval(libc::AT_SECURE) });
    for _ in 0..2 {
        let error = process::spawn(double, 1).err().ok_or("it worked")?;
        println!("{:?}: {error}", error.kind());
        let same = Pool::processes(2).err().ok_or("it worked")?;
        if error.kind() != std::io::ErrorKind::Unsupported || same.to_string() != error.to_string()
        {
            return Err(format!("{error}; {same}").into());
        }
    }
    if thread::spawn(double, 21)?.join()? != 42 {
        return Err("a wrong result".into());
    }
    let doubled = Pool::new(Kind::Thread, 2)?.map(double, 0..10).count();
    (doubled == 10).then_some(()).ok_or("too few".into())
}

/// Started by root, so that it has no more than who started it, and works; then it becomes somebody
/// whom a new start would give something back.
fn dropped(_: &[String]) -> Ended {
    brigade::init();
    // In some of the runs it has workers as root already; those are not to be had any more either.
    spawn_works()?;
    // SAFETY: no memory is involved.
    unsafe {
        if libc::setgroups(0, std::ptr::null()) == -1
            || libc::setresgid(NOBODY, NOBODY, NOBODY) == -1
            || libc::setresuid(NOBODY, NOBODY, NOBODY) == -1
        {
            return Err(std::io::Error::last_os_error().into());
        }
    }
    for _ in 0..6 {
        let error = process::spawn(double, 1).err().ok_or("it worked")?;
        if error.kind() != std::io::ErrorKind::Unsupported {
            return Err(error.into());
        }
        let error = Pool::processes(1).err().ok_or("it worked")?;
        if !error
            .to_string()
            .contains("a privilege that it does not have now")
        {
            return Err(error.into());
        }
    }
    Ok(())
}
