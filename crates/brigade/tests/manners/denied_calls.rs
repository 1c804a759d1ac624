//! A program that may not make some system call, as under a strict seccomp(2) filter: the first
//! process that it asks for gives one error, which names the call and what it is needed for. Nobody
//! waits.

use libtest_mimic::Trial;

use crate::hosts::{Host, double};
use crate::observe::well_behaved;
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] = &[("denied-call", denied_call)];

/// A call: its number, its first argument if it is that alone that is denied, what the error calls
/// it, and what it is needed for.
struct Call {
    number: libc::c_long,
    first: Option<libc::c_int>,
    name: &'static str,
    purpose: &'static str,
}

const fn call(number: libc::c_long, name: &'static str, purpose: &'static str) -> Call {
    Call {
        number,
        first: None,
        name,
        purpose,
    }
}

const fn prctl(first: libc::c_int, name: &'static str, purpose: &'static str) -> Call {
    Call {
        number: libc::SYS_prctl,
        first: Some(first),
        name,
        purpose,
    }
}

const CALLS: &[Call] = &[
    call(libc::SYS_waitid, "waitid(2)", "hear of workers' ends"),
    call(libc::SYS_wait4, "waitpid(2)", "reap"),
    call(libc::SYS_kill, "kill(2)", "end workers"),
    call(libc::SYS_setsid, "setsid(2)", "terminal"),
    call(libc::SYS_setpgid, "setpgid(2)", "end a worker"),
    call(libc::SYS_signalfd4, "signalfd(2)", "hear of workers' ends"),
    call(
        libc::SYS_pidfd_send_signal,
        "pidfd_send_signal(2)",
        "end the fork server",
    ),
    call(
        libc::SYS_timerfd_settime,
        "timerfd_settime(2)",
        "limits of time",
    ),
    prctl(
        libc::PR_SET_CHILD_SUBREAPER,
        "prctl(PR_SET_CHILD_SUBREAPER)",
        "leave behind",
    ),
    prctl(
        libc::PR_SET_PDEATHSIG,
        "prctl(PR_SET_PDEATHSIG)",
        "end workers with",
    ),
];

pub(crate) fn trials() -> Vec<Trial> {
    let each = CALLS.iter().enumerate().flat_map(|(i, call)| {
        [libc::EPERM, libc::ENOSYS].map(|errno| {
            let name = call.name.replace(['(', ')'], "_");
            let test = format!("a_host_that_may_not_call_{name}_error_{errno}");
            trial(&test, move || {
                let output = well_behaved("denied-call", &[&i.to_string(), &errno.to_string()]);
                let out = String::from_utf8_lossy(&output.stdout);
                let error = out.lines().find(|line| line.starts_with("error: "));
                let error = error.unwrap_or_else(|| panic!("no error: {out}"));
                assert!(error.contains(call.name), "{error}");
                assert!(error.contains(call.purpose), "{error}");
            })
        })
    });
    each.collect()
}

fn denied_call(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [call, errno] = args else {
        return Err("which call, and which error?".into());
    };
    let call = CALLS.get(call.parse::<usize>()?).ok_or("no such call")?;
    // SAFETY: no memory is involved. It ends a host that waits for ever, which fails the test.
    unsafe { libc::alarm(60) };
    brigade::init();
    deny(call, errno.parse()?)?;
    match brigade::process::spawn(double, 21).map(|handle| handle.join()) {
        Ok(result) => Err(format!("a process was started: {result:?}").into()),
        Err(e) => {
            println!("error: {e}");
            Ok(())
        }
    }
}

/// From here on the call fails, in this process and in all that it starts.
fn deny(call: &Call, errno: u32) -> std::io::Result<()> {
    // Places in `struct seccomp_data`; the argument's lower half, on a little-endian machine.
    const NUMBER: u32 = 0;
    const FIRST: u32 = 16;
    let load = |at| libc::sock_filter {
        code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: at,
    };
    // Goes on if they are equal; otherwise over the next so many.
    let equal = |k, over| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: over,
        k,
    };
    let give = |k| libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let number = call.number as u32;
    let mut program = match call.first {
        None => vec![load(NUMBER), equal(number, 1)],
        Some(first) => vec![
            load(NUMBER),
            equal(number, 3),
            load(FIRST),
            equal(first as u32, 1),
        ],
    };
    program.push(give(libc::SECCOMP_RET_ERRNO | errno));
    program.push(give(libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program, which lives across the call.
    let denied = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const filter,
            ) == 0
    };
    if denied {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}
