//! Tests of the files that are kept. They share what this process keeps: one after another.

use super::*;
use crate::sys::value_file::{self, ValueFile};
use rustix::process::WaitOptions;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const LEN: usize = 3 << 20;

fn alone() -> MutexGuard<'static, ()> {
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // As if all of it was old.
    let mut kept = lock();
    let files = std::mem::take(&mut kept.files);
    files.iter().for_each(|file| kept.leave(file.mapping.len()));
    guard
}

/// How many files are kept, and their bytes.
fn counts() -> (usize, usize) {
    let kept = lock();
    (kept.count, kept.bytes)
}

/// Whether this system can keep files at all.
fn can_keep() -> bool {
    match KeptFile::new(HUGE_PAGE) {
        Ok(_) => true,
        Err(e) => {
            eprintln!("skipped: {e}");
            false
        }
    }
}

fn inode(file: &OwnedFd) -> u64 {
    rustix::fs::fstat(file).expect("fstat").st_ino
}

fn write(byte: u8, len: usize) -> OwnedFd {
    value_file::write(&[&[byte], &vec![byte; len - 1]]).expect("written")
}

fn bytes(file: &OwnedFd, len: usize) -> Vec<u8> {
    let value = ValueFile::map(file, len, true).expect("a value");
    value.to_vec().expect("memory")
}

#[test]
fn a_file_is_written_to_again_when_nobody_has_it() {
    let _alone = alone();
    if !can_keep() {
        return;
    }
    let first = write(1, LEN);
    let kept = inode(&first);
    assert_ne!(inode(&write(2, LEN)), kept, "it is in use");
    assert!(bytes(&first, LEN) == vec![1; LEN]);

    let copy = first.try_clone().expect("a copy");
    drop(first);
    assert_ne!(
        inode(&write(3, LEN)),
        kept,
        "a copy of the descriptor is in use"
    );

    let mapped = ValueFile::map(&copy, LEN, true).expect("a value");
    drop(copy);
    assert_ne!(inode(&write(4, LEN)), kept, "it is mapped");
    assert!(mapped.to_vec().expect("memory") == vec![1; LEN]);
    drop(mapped);

    let mut again = (0..4).map(|byte| write(byte, LEN - 7)).collect::<Vec<_>>();
    assert!(again.iter().any(|file| inode(file) == kept), "it is free");
    for (byte, file) in (0..).zip(again.drain(..)) {
        assert!(bytes(&file, LEN - 7) == vec![byte; LEN - 7]);
    }
}

#[test]
fn it_is_in_use_on_its_way_and_in_another_process() {
    let _alone = alone();
    if !can_keep() {
        return;
    }
    let (to, from) = opened::socket_pair().expect("sockets");
    let file = write(1, LEN);
    let kept = inode(&file);
    crate::sys::fds::send(&to, &[1], &[std::os::fd::AsFd::as_fd(&file)]).expect("sent");
    drop(file);
    assert_ne!(inode(&write(2, LEN)), kept, "it is on its way");
    let mut received = Vec::new();
    crate::sys::fds::recv(&from, &mut [0], &mut received, false).expect("received");
    let received = received.pop().expect("a descriptor");
    // The other process has it by /proc, and then alone.
    let theirs = format!("/proc/self/fd/{}", received.as_raw_fd());
    let mut reader = std::process::Command::new("sleep")
        .arg("1000")
        .stdin(std::fs::File::open(theirs).expect("opened"))
        .spawn()
        .expect("sleep");
    drop(received);
    assert_ne!(inode(&write(3, LEN)), kept, "another process has it");
    reader.kill().expect("killed");
    reader.wait().expect("reaped");
    assert!(
        (0..8)
            .map(|byte| write(byte, LEN))
            .collect::<Vec<_>>()
            .iter()
            .any(|file| inode(file) == kept)
    );
}

#[test]
fn nobody_who_gets_one_can_change_it() {
    let _alone = alone();
    if !can_keep() {
        return;
    }
    let file = write(1, LEN);
    assert!(Mapping::writable(&file, LEN).is_err());
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let anew = opened::file(path, OFlags::RDWR).expect("opened anew");
    assert!(Mapping::writable(&anew, LEN).is_err(), "mapped");
    assert!(rustix::io::pwrite(&anew, &[9], 0).is_err(), "written");
    assert!(rustix::fs::ftruncate(&anew, 0).is_err(), "truncated");
    let hole = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    assert!(
        rustix::fs::fallocate(&anew, hole, 0, 4096).is_err(),
        "punched"
    );
    assert!(bytes(&file, LEN) == vec![1; LEN]);
}

#[test]
fn no_more_is_kept_than_may_be() {
    let _alone = alone();
    if !can_keep() {
        return;
    }
    let len = 20 << 20;
    let files: Vec<_> = (0..12).map(|byte| write(byte, len)).collect();
    let is_within = || {
        let (count, bytes) = counts();
        bytes <= MOST_BYTES && count <= MOST_FILES
    };
    assert!(is_within(), "{:?}", counts());
    for (byte, file) in (0..).zip(&files) {
        assert!(bytes(file, len) == vec![byte; len]);
    }
    drop(files);
    // Of other sizes: those that are free make room.
    let large = write(7, 100 << 20);
    let is_kept = lock().files.iter().any(|f| f.mapping.len() >= 100 << 20);
    assert!(is_kept && is_within(), "{:?}", counts());
    drop(large);
    let small: Vec<_> = (0..40).map(|byte| write(byte, 300 << 10)).collect();
    assert!(is_within(), "{:?}", counts());
    for (byte, file) in (0..).zip(&small) {
        assert!(bytes(file, 300 << 10) == vec![byte; 300 << 10]);
    }
}

#[test]
fn what_is_not_used_is_given_back() {
    let _alone = alone();
    if !can_keep() {
        return;
    }
    let held = write(1, LEN);
    drop(write(2, LEN));
    assert!(counts().0 >= 2);
    // By the thread, which ends then.
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        let kept = lock();
        if !kept.has_thread {
            assert_eq!((kept.count, kept.bytes), (0, 0));
            break;
        }
        drop(kept);
        assert!(Instant::now() < limit, "{:?}", counts());
        futex::rest(Duration::from_millis(10));
    }
    assert!(
        bytes(&held, LEN) == vec![1; LEN],
        "its receiver has it still"
    );
    drop(write(3, LEN));
    assert!(lock().has_thread);
}

#[test]
fn a_fork_keeps_files_of_its_own() {
    let _alone = alone();
    if !can_keep() {
        return;
    }
    let file = write(1, LEN);
    let child = fork(|| {
        let ours = write(2, LEN);
        let is_apart = inode(&ours) != inode(&file) && bytes(&file, LEN) == vec![1; LEN];
        let again = write(3, LEN);
        is_apart && bytes(&ours, LEN) == vec![2; LEN] && bytes(&again, LEN) == vec![3; LEN]
    });
    assert_eq!(ended(child), Some(0));
    assert!(bytes(&file, LEN) == vec![1; LEN]);
}

#[test]
fn a_file_of_which_a_fork_has_a_copy_is_not_written_to() {
    let _alone = alone();
    if !can_keep() {
        return;
    }
    let (to, from) = opened::socket_pair().expect("sockets");
    let file = write(1, LEN);
    let kept = inode(&file);
    let child = fork(|| {
        let is_told = rustix::io::read(&from, &mut [0]) == Ok(1);
        is_told && bytes(&file, LEN) == vec![1; LEN]
    });
    drop(file);
    for byte in 2..6 {
        assert_ne!(inode(&write(byte, LEN)), kept, "the fork has it");
    }
    rustix::io::write(&to, &[1]).expect("told");
    assert_eq!(ended(child), Some(0));
}

#[test]
fn many_threads_write_at_once() {
    let _alone = alone();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            scope.spawn(move || {
                for round in 0..20_u8 {
                    let byte = thread * 50 + round;
                    let len = (256 << 10) + usize::from(byte) * 20_000;
                    let file = write(byte, len);
                    assert!(bytes(&file, len) == vec![byte; len]);
                }
            });
        }
    });
    let kept = lock();
    assert_eq!(kept.count, kept.files.len());
    assert_eq!(
        kept.bytes,
        kept.files.iter().map(|f| f.mapping.len()).sum::<usize>()
    );
}

#[test]
fn nothing_of_a_longer_value_before_is_left() {
    let _alone = alone();
    if !can_keep() {
        return;
    }
    let first = write(1, LEN);
    let kept = inode(&first);
    drop(first);
    for len in [LEN - 5000, LEN - 4000, 1 << 20, (1 << 20) + 5, LEN] {
        let file = write(2, len);
        assert_eq!(inode(&file), kept, "the same");
        let size = mapping::file_size(&file).expect("a size") as usize;
        let all = bytes(&file, size);
        assert!(all[..len] == vec![2; len], "{len} bytes");
        assert!(all[len..].iter().all(|&byte| byte == 0), "behind {len}");
        drop(file);
        // As large as fits again, whatever was before.
        drop(write(1, LEN));
    }
}

#[test]
fn a_process_that_may_have_little_keeps_little() {
    let allowance = |bytes, files| Allowance::of(bytes, files);
    let mut none = KeptFiles::new(allowance(u64::MAX, 0));
    assert!(none.place(LEN).is_none(), "no descriptors to spare");
    let mut little = KeptFiles::new(allowance(4 << 20, 3));
    assert!(little.place(5 << 20).is_none(), "too large");
    assert!(matches!(little.place(3 << 20), Some(WriteTarget::New(_))));
    assert!(little.place(1).is_none(), "no bytes are left");
    let mut few = KeptFiles::new(allowance(u64::MAX, 2));
    assert!(matches!(few.place(1), Some(WriteTarget::New(_))));
    assert!(matches!(few.place(1), Some(WriteTarget::New(_))));
    assert!(few.place(1).is_none(), "no more files");
    let most = allowance(u64::MAX, u64::MAX);
    assert_eq!((most.bytes, most.files), (MOST_BYTES, MOST_FILES));
}

#[test]
fn what_cannot_be_kept_arrives_all_the_same() {
    let _alone = alone();
    if !can_keep() {
        return;
    }
    // All that may be kept is in use, by its receiver.
    let held: Vec<_> = (0..MOST_FILES as u8).map(|n| write(n, 300 << 10)).collect();
    let (count, _) = counts();
    let more: Vec<_> = (0..8).map(|n| write(100 + n, LEN)).collect();
    assert_eq!(counts().0, count);
    for (n, file) in (100..).zip(&more) {
        assert!(bytes(file, LEN) == vec![n; LEN]);
        let seals = mapping::seals(file).expect("seals");
        assert!(seals.contains(SealFlags::WRITE), "{seals:?}");
    }
    for (n, file) in (0..).zip(&held) {
        assert!(bytes(file, 300 << 10) == vec![n; 300 << 10]);
    }
}

/// Runs it in a child of this process: whether it holds, by its exit status.
#[expect(unsafe_code, reason = "forks")]
fn fork(run: impl FnOnce() -> bool) -> rustix::process::Pid {
    // SAFETY: the child calls nothing that another thread may have locked, but for the allocator,
    // which glibc unlocks in a child, and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        crate::sys::process::exit_now(i32::from(!run()));
    }
    rustix::process::Pid::from_raw(child).expect("a child")
}

fn ended(child: rustix::process::Pid) -> Option<i32> {
    let ended = rustix::process::waitpid(Some(child), WaitOptions::empty()).expect("waited");
    ended.and_then(|(_, status)| status.exit_status())
}

#[test]
fn a_file_that_the_limit_of_its_size_does_not_allow_is_not_made() {
    let _alone = alone();
    // Over the limit, the kernel would end the child by SIGXFSZ.
    let child = fork(|| {
        let limit = rustix::process::Rlimit {
            current: Some(1 << 20),
            maximum: Some(1 << 20),
        };
        rustix::process::setrlimit(Resource::Fsize, limit).expect("less is allowed");
        let small = write(3, 300 << 10);
        let large = value_file::write(&[&vec![1; LEN]]).expect_err("too large");
        bytes(&small, 300 << 10) == vec![3; 300 << 10]
            && errno_of(&large) == Some(libc::EFBIG)
            && counts().0 == 0
    });
    assert_eq!(ended(child), Some(0));
}

#[test]
fn where_it_is_written_to_by_many_each_gets_its_own() {
    let _alone = alone();
    let (to, from) = std::sync::mpsc::channel::<(u8, usize, OwnedFd)>();
    // What is read is let go of at any time: files are free again while others look for one.
    std::thread::scope(|scope| {
        for thread in 0..3_u8 {
            let to = to.clone();
            scope.spawn(move || {
                for round in 0..40_u8 {
                    let byte = thread * 64 + round;
                    let len = (256 << 10) + usize::from(round % 5) * 500_000;
                    to.send((byte, len, write(byte, len))).expect("a reader");
                }
            });
        }
        drop(to);
        let mut held = Vec::new();
        for (n, (byte, len, file)) in from.iter().enumerate() {
            held.push((byte, len, file));
            if n % 3 == 2 {
                for (byte, len, file) in held.drain(..) {
                    assert!(bytes(&file, len) == vec![byte; len], "{byte}, {len}");
                }
            }
        }
    });
}
