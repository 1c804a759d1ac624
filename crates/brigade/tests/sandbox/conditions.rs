//! This program, started once more on what looks like another machine: as an ordinary user, where
//! no namespace can be made, without Landlock, without seccomp.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use brigade_test_support::wait;
use libtest_mimic::{Failed, Trial};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// Only a hang takes longer: hundreds of processes are started, on a machine that may be busy, or
/// emulated.
const LIMIT: Duration = Duration::from_secs(1200);

/// What is different there.
#[derive(Clone, Copy, Default)]
pub(crate) struct Condition {
    name: &'static str,
    pub(crate) ordinary_user: bool,
    pub(crate) no_namespaces: bool,
    pub(crate) no_landlock: bool,
    pub(crate) no_seccomp: bool,
    /// Root, that may signal no other user's processes.
    pub(crate) no_kill: bool,
}

const NONE: Condition = Condition {
    name: "as it is",
    ordinary_user: false,
    no_namespaces: false,
    no_landlock: false,
    no_seccomp: false,
    no_kill: false,
};

const CONDITIONS: [Condition; 7] = [
    NONE,
    Condition {
        name: "an ordinary user",
        ordinary_user: true,
        ..NONE
    },
    Condition {
        name: "no namespaces",
        no_namespaces: true,
        ..NONE
    },
    Condition {
        name: "no Landlock",
        no_landlock: true,
        ..NONE
    },
    Condition {
        name: "no seccomp",
        no_seccomp: true,
        ..NONE
    },
    Condition {
        name: "an ordinary user without namespaces and Landlock",
        ordinary_user: true,
        no_namespaces: true,
        no_landlock: true,
        ..NONE
    },
    Condition {
        name: "root without CAP_KILL",
        no_kill: true,
        ..NONE
    },
];

/// Tells this program under which condition it is.
const CONDITION: &str = "BRIGADE_TEST_CONDITION";

fn asked() -> Option<Condition> {
    let name = std::env::var(CONDITION).ok()?;
    CONDITIONS.into_iter().find(|c| c.name == name)
}

/// Before anything else: what this start of the program is to be without. Workers inherit it.
pub(crate) fn put_in_force() {
    // A start of the fork server is under it already.
    let is_first = std::env::args().any(|a| a == "--escapes");
    let Some(condition) = asked().filter(|_| is_first) else {
        return;
    };
    if condition.no_landlock {
        let calls = [
            libc::SYS_landlock_create_ruleset,
            libc::SYS_landlock_add_rule,
            libc::SYS_landlock_restrict_self,
        ];
        let rules = calls.map(|call| (call, Vec::new()));
        filter(rules.into_iter().collect(), libc::ENOSYS);
    }
    if condition.no_seccomp {
        // With EINVAL, as a kernel that is built without it says.
        filter([(libc::SYS_seccomp, Vec::new())].into(), libc::EINVAL);
    }
    if condition.no_namespaces {
        // As the profile of container engines does it.
        filter([(libc::SYS_clone3, Vec::new())].into(), libc::ENOSYS);
        let flags = libc::CLONE_NEWUSER
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWCGROUP;
        let any = (0..32)
            .map(|bit| 1_u64 << bit)
            .filter(|bit| flags as u32 as u64 & bit != 0)
            .map(|bit| {
                let set = SeccompCmpOp::MaskedEq(bit);
                let set = SeccompCondition::new(0, SeccompCmpArgLen::Dword, set, bit);
                SeccompRule::new(vec![set.expect("valid")]).expect("valid")
            });
        let rules = [
            (libc::SYS_clone, any.collect()),
            (libc::SYS_unshare, Vec::new()),
            (libc::SYS_setns, Vec::new()),
        ];
        filter(rules.into(), libc::EPERM);
    }
}

/// Refuses these calls, in this process and all that it starts.
fn filter(calls: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) {
    let program: BpfProgram = SeccompFilter::new(
        calls,
        SeccompAction::Allow,
        SeccompAction::Errno(errno as u32),
        std::env::consts::ARCH.try_into().expect("it is known"),
    )
    .and_then(TryInto::try_into)
    .expect("a filter");
    apply_filter(&program).expect("seccomp");
}

/// If this is a start under a condition, does that and ends.
pub(crate) fn if_asked(try_all: fn(Condition) -> Vec<String>) {
    let is_first = std::env::args().any(|a| a == "--escapes");
    let Some(condition) = asked().filter(|_| is_first) else {
        return;
    };
    let faults = try_all(condition);
    for fault in &faults {
        println!("{fault}");
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "this start of the program is at its end"
    )]
    std::process::exit(i32::from(!faults.is_empty()));
}

pub(crate) fn tests() -> Vec<Trial> {
    CONDITIONS
        .into_iter()
        .map(|condition| {
            let name = format!("every way out is shut: {}", condition.name);
            // SAFETY: asks for a number.
            let is_root = unsafe { libc::geteuid() } == 0;
            let cannot = (condition.ordinary_user || condition.no_kill) && !is_root;
            Trial::test(name, move || run(condition)).with_ignored_flag(cannot)
        })
        .collect()
}

fn run(condition: Condition) -> Result<(), Failed> {
    let this = std::env::current_exe()?;
    let mut command = Command::new(this);
    command
        .arg("--escapes")
        .env(CONDITION, condition.name)
        .stdout(Stdio::piped());
    if condition.ordinary_user {
        const SOMEBODY: u32 = 12_345;
        command.uid(SOMEBODY).gid(SOMEBODY);
    }
    if condition.no_kill {
        const CAP_KILL: libc::c_ulong = 5;
        // SAFETY: a system call; root begins a program with what is left in this set.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_CAPBSET_DROP, CAP_KILL, 0, 0, 0);
                Ok(())
            });
        }
    }
    let mut program = command.spawn()?;
    let mut stdout = program.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut faults = String::new();
        let _ = stdout.read_to_string(&mut faults);
        faults
    });
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = program.try_wait()? {
            break status;
        }
        if begun.elapsed() > LIMIT {
            program.kill()?;
            return Err("it hangs".into());
        }
        wait::pause(Duration::from_millis(10));
    };
    if status.success() {
        return Ok(());
    }
    let faults = reader.join().unwrap_or_default();
    Err(format!("{status}\n{faults}").into())
}
