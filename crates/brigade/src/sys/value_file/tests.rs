//! Tests of what is accepted of a file that a hostile sender made.

use rustix::fs::{FallocateFlags, MemfdFlags, memfd_create};

use super::*;

const LEN: usize = 3 << 20;

/// A file of these seals, with its memory, or without.
fn file(len: usize, seals: SealFlags, has_memory: bool) -> OwnedFd {
    let file = memfd("test").expect("memfd");
    mapping::set_len(&file, len).expect("a length");
    if has_memory {
        fill(&file, len);
    }
    add_seals(&file, seals).expect("sealed");
    file
}

/// Memory that was never written counts as a hole.
fn fill(file: &OwnedFd, len: usize) {
    let mapping = Mapping::writable(file, len).expect("mapped");
    mapping.give_memory(file).expect("memory");
    mapping.clear(0..len);
}

fn refused(file: &OwnedFd, len: usize) -> String {
    let e = ValueFile::map(file, len, true).expect_err("refused");
    assert_eq!(e.kind(), io::ErrorKind::InvalidData, "{e}");
    e.to_string()
}

#[test]
fn what_could_become_shorter_or_was_never_there_is_refused() {
    let fixed = SealFlags::SHRINK | SealFlags::WRITE;
    assert!(ValueFile::map(file(LEN, fixed, true), LEN, true).is_ok());
    let later = SealFlags::SHRINK | SealFlags::FUTURE_WRITE;
    assert!(ValueFile::map(file(LEN, later, true), LEN, true).is_ok());

    let why = refused(&file(LEN, SealFlags::WRITE, true), LEN);
    assert!(why.contains("not sealed"), "{why}");
    let why = refused(&file(LEN, SealFlags::SHRINK | SealFlags::GROW, true), LEN);
    assert!(why.contains("not sealed"), "{why}");
    let why = refused(&file(LEN, fixed, true), LEN + 1);
    assert!(why.contains("shorter"), "{why}");
    let why = refused(&file(LEN, fixed, false), LEN);
    assert!(why.contains("not all there"), "{why}");
    let holed = memfd("test").expect("memfd");
    mapping::set_len(&holed, LEN).expect("a length");
    fill(&holed, LEN);
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&holed, hole, 1 << 20, 4096).expect("a hole");
    add_seals(&holed, fixed).expect("sealed");
    assert!(ValueFile::map(&holed, 1 << 20, true).is_ok(), "before it");
    let why = refused(&holed, (1 << 20) + 1);
    assert!(why.contains("not all there"), "{why}");

    let (pipe, _other) = crate::sys::opened::pipe(rustix::pipe::PipeFlags::empty()).expect("pipe");
    let why = refused(&pipe, LEN);
    assert!(why.contains("not sealed"), "{why}");
}

#[test]
fn a_file_of_reserved_huge_pages_is_refused() {
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB;
    let Ok(file) = memfd_create("test", flags) else {
        eprintln!("skipped: this kernel has no such pages");
        return;
    };
    mapping::set_len(&file, 2 * HUGE_PAGE).expect("a length");
    add_seals(&file, SealFlags::SHRINK | SealFlags::FUTURE_WRITE).expect("sealed");
    for must_be_there in [false, true] {
        let e = ValueFile::map(&file, HUGE_PAGE + 1, must_be_there).expect_err("refused");
        assert!(e.to_string().contains("another kind of memory"), "{e}");
    }
}

#[test]
fn no_hole_is_made_once_the_seals_are_there() {
    let file = memfd("test").expect("memfd");
    mapping::set_len(&file, LEN).expect("a length");
    let writable = Mapping::writable(&file, LEN).expect("mapped");
    writable.give_memory(&file).expect("memory");
    writable.clear(0..LEN);
    add_seals(&file, SealFlags::SHRINK | SealFlags::FUTURE_WRITE).expect("sealed");
    // All ways that a sender has that maps it: it still reads as it was mapped.
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    assert!(rustix::fs::fallocate(&file, hole, 0, 4096).is_err());
    // SAFETY: the mapping is this test's own; nothing has a reference to its bytes.
    #[expect(unsafe_code, reason = "what a hostile sender would do")]
    let removed = unsafe { libc::madvise(writable.at().as_ptr().cast(), 4096, libc::MADV_REMOVE) };
    assert_eq!(removed, -1);
    assert!(rustix::fs::ftruncate(&file, 0).is_err());
    let value = ValueFile::map(&file, LEN, true).expect("a value");
    assert!(value.to_vec().expect("memory") == vec![0; LEN]);
}
