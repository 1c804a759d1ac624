//! A worker that tries to write to each memory file that it has in any way: descriptors, opened
//! anew, and mappings.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use brigade::channel::{self, Sender};
use brigade::sync::Mutex;
use brigade::{Kind, Pool, Shared, process};
use brigade_test_support::signal;

use crate::alone;

/// What a worker may write by design, and nothing else: its mailbox, a region with locks in it (one
/// without has the same name, and a test of its own), and a channel's memory.
const ITS_OWN: [&str; 3] = ["brigade-mailbox", "brigade-shared", "brigade-channel"];

/// Everything that a worker is given which is in a memory file.
type Given = (Vec<u8>, Shared<[u64]>, Shared<Mutex<u64>>, Sender<u8>);

/// Names of memory files and what could be done to them.
type Done = BTreeSet<(String, String)>;

/// The name of a memory file, from where a link in /proc leads.
fn name_of(link: &str) -> Option<String> {
    let name = std::fs::read_link(link).ok()?;
    let name = name.to_str()?.strip_prefix("/memfd:")?;
    Some(name.trim_end_matches(" (deleted)").to_owned())
}

fn try_file(path: &str, name: &str, done: &mut Done) {
    let Ok(c_path) = CString::new(path) else {
        return;
    };
    // SAFETY: a path that ends with a zero, and numbers. The mode is of a file that this process
    // has; it is its owner, or root.
    let number = unsafe {
        libc::chmod(c_path.as_ptr(), 0o666);
        libc::open(c_path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC)
    };
    if number < 0 {
        return;
    }
    // SAFETY: it was opened above, and is nobody else's.
    let file = unsafe { OwnedFd::from_raw_fd(number) };
    let number = file.as_raw_fd();
    let mut note = |what: &str, succeeded: bool| {
        if succeeded {
            done.insert((name.to_owned(), what.to_owned()));
        }
    };
    let page = 4096;
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: numbers, and one byte of this frame. What is mapped is not touched.
    unsafe {
        note("resize", libc::ftruncate(number, 1 << 30) == 0);
        // Nothing that anybody relies on: the byte that is there.
        let mut byte = 0_u8;
        libc::pread(number, (&raw mut byte).cast(), 1, 0);
        note(
            "write",
            libc::pwrite(number, (&raw const byte).cast(), 1, 0) == 1,
        );
        let at = libc::mmap(
            std::ptr::null_mut(),
            page,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            number,
            0,
        );
        note("map", at != libc::MAP_FAILED);
        // The last page of a mailbox or a channel is a ring's that was never used.
        let len = libc::lseek(number, 0, libc::SEEK_END);
        let last = len - page as libc::off_t;
        note(
            "punch",
            libc::fallocate(number, punch, last, page as libc::off_t) == 0,
        );
    }
}

/// Tries whatever comes to mind.
fn pry(_given: Given) -> Done {
    let mut done = Done::new();
    let numbers: Vec<_> = std::fs::read_dir("/proc/self/fd")
        .expect("descriptors")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    for number in numbers {
        let path = format!("/proc/self/fd/{number}");
        if let Some(name) = name_of(&path) {
            try_file(&path, &name, &mut done);
        }
    }
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    for line in maps.lines() {
        let Some((range, rest)) = line.split_once(' ') else {
            continue;
        };
        let Some((_, name)) = rest.split_once("/memfd:") else {
            continue;
        };
        let name = name.trim_end_matches(" (deleted)");
        // For root only.
        try_file(&format!("/proc/self/map_files/{range}"), name, &mut done);
        if rest.starts_with("r--s") {
            let start = range.split('-').next().expect("a start");
            let start = usize::from_str_radix(start, 16).expect("a number");
            // SAFETY: nothing is written there.
            let changed = unsafe {
                libc::mprotect(
                    std::ptr::without_provenance_mut(start),
                    4096,
                    libc::PROT_READ | libc::PROT_WRITE,
                )
            };
            if changed == 0 {
                done.insert((name.to_owned(), "protect".to_owned()));
            }
        }
    }
    done
}

fn given() -> (Given, channel::Receiver<u8>) {
    let (sender, receiver) = channel::shm(4).expect("a channel");
    let given = (
        vec![7; 100_000],
        Shared::from_slice(&[1_u64; 1000]).expect("a region"),
        Shared::new(Mutex::new(0)).expect("a region"),
        sender,
    );
    (given, receiver)
}

fn holds(done: &Done) {
    for (name, what) in done {
        assert!(
            ITS_OWN.contains(&&**name) && what != "resize",
            "{name}: {what}"
        );
    }
    // It has tried.
    let channel = ("brigade-channel".to_owned(), "write".to_owned());
    assert!(done.contains(&channel), "{done:?}");
}

#[test]
fn a_worker_writes_to_no_file_but_its_own() {
    brigade::init();
    let pool = Pool::processes(2).expect("a pool");
    for _ in 0..4 {
        let (input, _receiver) = given();
        let handle = process::spawn(pry, input).expect("a process starts");
        holds(&handle.join().expect("it returns"));
        let (input, _receiver) = given();
        holds(&pool.submit(pry, input).join().expect("it returns"));
    }
}

fn pry_at_one(_sealed: Shared<[u64]>) -> Done {
    let mut done = Done::new();
    for number in 3..1000 {
        let path = format!("/proc/self/fd/{number}");
        if let Some(name) = name_of(&path).filter(|name| name == "brigade-shared") {
            try_file(&path, &name, &mut done);
            done.insert((name, "found".to_owned()));
        }
    }
    done
}

#[test]
fn a_sealed_region_can_be_written_by_nobody() {
    brigade::init();
    let sealed = Shared::from_slice(&[5_u64; 1000]).expect("a region");
    let handle = process::spawn(pry_at_one, sealed.clone()).expect("a process starts");
    let found = ("brigade-shared".to_owned(), "found".to_owned());
    assert_eq!(handle.join().expect("it returns"), Done::from([found]));
    assert!(sealed.iter().all(|&n| n == 5));
}

fn parent(_: ()) -> u32 {
    std::os::unix::process::parent_id()
}

/// Not a test by itself: it kills the fork server of this program.
#[test]
#[ignore = "run by the one below, alone in a program of its own"]
fn inside_a_program_that_has_a_second_fork_server() {
    brigade::init();
    let server = process::spawn(parent, ())
        .expect("a process starts")
        .join()
        .expect("it returns");
    // It is the parent of our workers, of which there are spare ones.
    assert!(signal::send(server, libc::SIGKILL));
    while Kind::Process
        .spawn(parent, ())
        .ok()
        .and_then(|next| next.join().ok())
        .is_none_or(|next| next == server)
    {}
    let (given, _receiver) = given();
    let done = process::spawn(pry, given).expect("a process starts").join();
    holds(&done.expect("it returns"));
}

#[test]
fn nor_does_one_of_a_later_fork_server() {
    alone("files::inside_a_program_that_has_a_second_fork_server");
}
