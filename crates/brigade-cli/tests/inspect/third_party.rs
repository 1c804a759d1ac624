//! A program that is not ours: nginx. What ps, lsof and /proc say of it is what is drawn.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{list, picture, process};

struct Nginx {
    child: Child,
    folder: PathBuf,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It ends its workers, and waits for them.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// `None`: it is not installed.
fn nginx() -> Option<Nginx> {
    let folder = std::env::temp_dir().join(format!("brigade-inspect-nginx-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let at = folder.display();
    let configuration = folder.join("nginx.conf");
    fs::write(
        &configuration,
        format!(
            "worker_processes 2; daemon off; error_log /dev/null; pid {at}/pid;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; server {{ listen unix:{at}/socket; }} }}\n"
        ),
    )
    .expect("a configuration");
    let started = Command::new("nginx")
        .arg("-p")
        .arg(&folder)
        .arg("-c")
        .arg(&configuration)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let child = match started {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let _ = fs::remove_dir_all(&folder);
            return None;
        }
        Err(error) => panic!("nginx: {error}"),
    };
    let nginx = Nginx { child, folder };
    // It answers when it has a worker, and has two when ps says so.
    let limit = Instant::now() + Duration::from_secs(60);
    while UnixStream::connect(nginx.folder.join("socket")).is_err()
        || ps(&["--ppid", &nginx.child.id().to_string()], "stat=")
            .iter()
            .filter(|state| state.starts_with('S'))
            .count()
            < 2
    {
        assert!(Instant::now() < limit, "nginx does not answer");
        std::thread::yield_now();
    }
    Some(nginx)
}

fn ps(which: &[&str], what: &str) -> Vec<String> {
    let output = Command::new("ps").args(which).args(["-o", what]).output();
    let text = String::from_utf8(output.expect("ps runs").stdout).expect("it is text");
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// Lines of lsof for a process: its descriptors, and where their sockets lead to.
fn lsof(pid: u32) -> Option<Vec<(u32, String)>> {
    let output = Command::new("lsof")
        .args([
            "-nP",
            "+E",
            "-F",
            "fn",
            "-a",
            "-d",
            "0-1000",
            "-p",
            &pid.to_string(),
        ])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut found: Vec<(u32, String)> = Vec::new();
    // With +E the processes at the other ends come too: the first is the one that was asked for.
    let mut is_ours = false;
    for line in text.lines() {
        match line.split_at_checked(1) {
            Some(("p", of)) => is_ours = of == pid.to_string(),
            Some(("f", number)) if is_ours => {
                found.extend(number.parse().map(|number| (number, String::new())));
            }
            Some(("n", name)) if is_ours => {
                if let Some(last) = found.last_mut() {
                    last.1 = name.to_owned();
                }
            }
            _ => {}
        }
    }
    Some(found)
}

#[test]
fn nginx_is_drawn_as_ps_and_lsof_see_it() {
    let Some(nginx) = nginx() else {
        eprintln!("skipped: nginx is not installed");
        return;
    };
    let master = nginx.child.id();
    let picture = picture(master);
    let workers: Vec<u32> = ps(&["--ppid", &master.to_string()], "pid=")
        .iter()
        .map(|pid| pid.parse().expect("a pid"))
        .collect();
    assert_eq!(workers.len(), 2);
    let drawn: BTreeSet<u64> = list(&picture, "processes")
        .iter()
        .filter_map(|process| process["pid"].as_u64())
        .collect();
    let all: Vec<u32> = std::iter::once(master).chain(workers).collect();
    assert_eq!(drawn, all.iter().map(|&pid| u64::from(pid)).collect());
    for &pid in &all {
        let drawn = process(&picture, pid);
        let said = ps(&["-p", &pid.to_string()], "ppid=,nlwp=,comm=,user=");
        let said: Vec<&str> = said[0].split_whitespace().collect();
        assert_eq!(drawn["parent"].to_string(), said[0]);
        assert_eq!(list(drawn, "threads").len().to_string(), said[1]);
        assert_eq!(drawn["name"], said[2]);
        assert_eq!(drawn["user"], said[3]);
        let numbers: BTreeSet<u64> = list(drawn, "descriptors")
            .iter()
            .filter_map(|descriptor| descriptor["number"].as_u64())
            .collect();
        let folder = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
        let expected = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        assert_eq!(numbers, expected.collect());
    }
    match lsof(master) {
        Some(seen) => compare_with_lsof(&picture, master, &seen),
        None => eprintln!("skipped: lsof is not installed"),
    }
    let anonymous = list(&picture, "connections")
        .iter()
        .find(|connection| connection["kind"] == "region")
        .expect("the memory in which nginx counts");
    assert_eq!(list(anonymous, "one").len(), 3);
}

/// Each pair of sockets that lsof sees: `->INO=… 12,nginx,7u 13,nginx,7u`.
fn compare_with_lsof(picture: &Value, pid: u32, seen: &[(u32, String)]) {
    let numbers: BTreeSet<u64> = seen.iter().map(|(number, _)| u64::from(*number)).collect();
    let drawn: BTreeSet<u64> = list(process(picture, pid), "descriptors")
        .iter()
        .filter_map(|descriptor| descriptor["number"].as_u64())
        .collect();
    assert_eq!(drawn, numbers, "{seen:?}");
    let mut pairs = 0;
    for (number, name) in seen {
        let Some((_, peers)) = name.split_once("->INO=") else {
            continue;
        };
        let expected: BTreeSet<(u64, u64)> = peers
            .split_whitespace()
            .filter_map(|peer| {
                let mut parts = peer.split(',');
                let pid = parts.next()?.parse().ok()?;
                let descriptor = parts.nth(1)?.trim_end_matches(char::is_alphabetic);
                Some((pid, descriptor.parse().ok()?))
            })
            .collect();
        let drawn = list(picture, "connections").iter().find_map(|connection| {
            let (one, other) = (list(connection, "one"), list(connection, "other"));
            let me = (u64::from(pid), u64::from(*number));
            match (ends(one).contains(&me), ends(other).contains(&me)) {
                (true, _) => Some(ends(other)),
                (_, true) => Some(ends(one)),
                _ => None,
            }
        });
        assert_eq!(drawn, Some(expected), "descriptor {number}: {name}");
        pairs += 1;
    }
    // A pair for each worker, and the master has both ends.
    assert!(pairs >= 4, "{seen:?}");
}

fn ends(side: &[Value]) -> BTreeSet<(u64, u64)> {
    let ends = side.iter().flat_map(|end| {
        let pid = end["pid"].as_u64().expect("a pid");
        let numbers = list(end, "descriptors").iter();
        numbers.map(move |number| (pid, number.as_u64().expect("a number")))
    });
    ends.collect()
}
