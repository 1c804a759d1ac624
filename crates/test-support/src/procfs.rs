//! What /proc says of a process: proc(5).
//!
//! Errors are those of reading: [`is_gone`] tells whether they say that the process has ended.

use std::fs;
use std::io;
use std::time::Instant;

use crate::wait::LIMIT;

/// Ids of a process's children, ended ones that were not reaped included.
pub fn children(pid: u32) -> io::Result<Vec<u32>> {
    let mut all = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        match fs::read_to_string(thread?.path().join("children")) {
            Ok(text) => all.extend(
                text.split_whitespace()
                    .filter_map(|word| word.parse::<u32>().ok()),
            ),
            // The thread has ended meanwhile.
            Err(e) if is_gone(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(all)
}

/// Whether an error says that the process has ended.
pub fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Whether it can do nothing any more: it has ended, also if it was not reaped.
pub fn has_ended(pid: u32) -> bool {
    matches!(state(pid), Ok('Z' | 'X') | Err(_))
}

/// The state's letter: `S` sleeps, `T` is stopped, `Z` has ended.
pub fn state(pid: u32) -> io::Result<char> {
    let stat = stat(pid)?;
    let state = stat.first().and_then(|word| word.chars().next());
    state.ok_or_else(|| unexpected(pid, "stat"))
}

/// The process id of its parent.
pub fn parent(pid: u32) -> io::Result<u32> {
    let stat = stat(pid)?;
    let parent = stat.get(1).and_then(|word| word.parse().ok());
    parent.ok_or_else(|| unexpected(pid, "stat"))
}

/// The words of `stat` behind the name, which is in parentheses and may contain anything.
fn stat(pid: u32) -> io::Result<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat
        .rsplit_once(") ")
        .ok_or_else(|| unexpected(pid, "stat"))?;
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

fn unexpected(pid: u32, file: &str) -> io::Error {
    let why = format!("/proc/{pid}/{file} is not as proc(5) says");
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// What `ps` calls it.
pub fn name(pid: u32) -> io::Result<String> {
    Ok(fs::read_to_string(format!("/proc/{pid}/comm"))?
        .trim_end()
        .to_owned())
}

/// How many entries a directory has.
pub fn entries(directory: &str) -> io::Result<usize> {
    Ok(fs::read_dir(directory)?.count())
}

/// Resident memory in KiB, counted page by page (`VmRSS` in `status` is a sum that lags behind).
pub fn resident(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    text.lines()
        .find_map(|line| {
            line.strip_prefix("Rss:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
        .ok_or_else(|| unexpected(pid, "smaps_rollup"))
}

/// How many mappings are of memory files whose name begins like this.
pub fn mappings(pid: u32, memfd: &str) -> io::Result<usize> {
    let needle = format!("/memfd:{memfd}");
    Ok(fs::read_to_string(format!("/proc/{pid}/maps"))?
        .lines()
        .filter(|line| line.contains(&needle))
        .count())
}

/// Processes that were started with this variable in their environment, or were forked from one
/// that was. Zombies have none.
pub fn with_variable(key: &str, value: &str) -> io::Result<Vec<u32>> {
    let needle = format!("{key}={value}").into_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        // What ends while we look, or is not ours to read, is none of those.
        let Ok(environment) = environment(pid) else {
            continue;
        };
        if environment
            .split(|&byte| byte == 0)
            .any(|variable| variable == needle)
        {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The environment that a process was started with. One that is just becoming another program has
/// none for a moment, when whoever waits for that may have gone on already (vfork(2)): then this
/// waits.
pub fn environment(pid: u32) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + LIMIT;
    let read = || fs::read(format!("/proc/{pid}/environ"));
    loop {
        let environment = read()?;
        if !environment.is_empty() {
            return Ok(environment);
        }
        if !is_starting(pid)? {
            // It has started meanwhile, or it has none.
            return read();
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::yield_now();
    }
}

/// Whether a process has a program, and possibly not its environment yet.
fn is_starting(pid: u32) -> io::Result<bool> {
    // The 27th field of all, of which two are cut off: where the program's code ends. The kernel
    // sets it after the environment's two ends. These are no sign: at first both are 0, then both
    // are the place where it begins, as with a program that has none (create_elf_tables in
    // fs/binfmt_elf.c).
    const CODE_ENDS: usize = 27 - 3;
    let stat = stat(pid)?;
    let ended = stat
        .first()
        .is_some_and(|state| state == "Z" || state == "X");
    let ends_nowhere = stat.get(CODE_ENDS).is_some_and(|at| at == "0");
    // The kernel's own threads have no program; another user's program has a 1 here.
    Ok(!ended && ends_nowhere && fs::read_link(format!("/proc/{pid}/exe")).is_ok())
}

/// What each descriptor of a process refers to.
pub fn descriptors(pid: u32) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        let number = path.file_name().unwrap_or_default().to_string_lossy();
        // It may have been closed meanwhile.
        if let Ok(target) = fs::read_link(&path) {
            all.push(format!("{number} {}", target.display()));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_just_started_has_its_environment() {
        // The more variables, the longer the kernel takes to lay them out.
        let variables = (0..1_000).map(|number| (format!("VARIABLE_{number}"), "value"));
        let variables: Vec<_> = variables.collect();
        for turn in 0..1_000 {
            let mut child = std::process::Command::new("/bin/cat")
                .envs(variables.iter().map(|(name, value)| (name, value)))
                .stdin(std::process::Stdio::piped())
                .spawn()
                .expect("cat starts");
            let environment = environment(child.id()).expect("it lives");
            assert!(!environment.is_empty(), "turn {turn}");
            drop(child.stdin.take());
            child.wait().expect("cat ends");
        }
    }

    #[test]
    fn a_program_without_environment_has_none() {
        let mut child = std::process::Command::new("/bin/cat")
            .env_clear()
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("cat starts");
        assert_eq!(environment(child.id()).expect("it lives"), []);
        drop(child.stdin.take());
        child.wait().expect("cat ends");
    }

    #[test]
    fn this_process_is_as_it_is() {
        let own = std::process::id();
        assert!(matches!(state(own).expect("a state"), 'R' | 'S'));
        assert_eq!(
            parent(own).expect("a parent"),
            std::os::unix::process::parent_id()
        );
        assert!(!has_ended(own));
        assert!(resident(own).expect("memory") > 100);
        assert_eq!(mappings(own, "no-such-file").expect("maps"), 0);
        assert!(entries("/proc/self/fd").expect("descriptors") >= 3);
        assert!(children(own).expect("children").len() < 1000);
        assert!(is_gone(
            &state(u32::MAX).expect_err("there is no such process")
        ));
    }
}
