use std::os::fd::AsRawFd;

use super::super::draft::{self, Memory, file_len};
use super::*;
use crate::sys::mapping::memfd;

fn copy(file: impl AsFd) -> OwnedFd {
    rustix::io::fcntl_dupfd_cloexec(file, 3).expect("dup")
}

fn refused(file: impl Into<OwnedFd>, why: &str) {
    let e = Region::receive(file.into()).expect_err(why);
    assert!(e.to_string().contains(why), "{why}: {e}");
}

#[test]
fn lengths() {
    let page = rustix::param::page_size();
    assert_eq!(file_len(0, usize::MAX).expect("nothing"), page);
    assert_eq!(file_len(8, 0).expect("nothing"), page);
    assert_eq!(file_len(1, page).expect("one page"), page);
    assert_eq!(file_len(1, page + 1).expect("two pages"), 2 * page);
    for (size, count) in [
        (1, usize::MAX),
        (2, usize::MAX / 2 + 2),
        (1, isize::MAX as usize),
        (usize::MAX, usize::MAX),
    ] {
        assert!(file_len(size, count).is_err(), "{size} * {count}");
    }
}

#[test]
fn more_than_the_machine_has_is_an_error() {
    let e = draft::make(1 << 50, Memory::Reserved).expect_err("a petabyte");
    assert_eq!(e.kind(), io::ErrorKind::OutOfMemory);
    assert!(e.to_string().contains("1125899906842624 bytes"), "{e}");
}

#[test]
fn what_is_no_region_is_refused() {
    let page = rustix::param::page_size();
    let (pipe, _other) = rustix::pipe::pipe().expect("pipe");
    refused(pipe, "no memory file");
    refused(
        std::fs::File::open("/dev/zero").expect("open"),
        "no memory file",
    );
    refused(std::fs::File::open("/").expect("open"), "no memory file");
    refused(memfd("test").expect("memfd"), "not sealed");
    refused(
        draft::make(page, Memory::Reserved).expect("draft"),
        "not sealed",
    );

    let seal = |file: OwnedFd| {
        rustix::fs::fcntl_add_seals(&file, SIZE_SEALS | SealFlags::SEAL).expect("seals");
        file
    };
    refused(seal(memfd("test").expect("memfd")), "whole number of pages");
    let odd = memfd("test").expect("memfd");
    rustix::fs::ftruncate(&odd, 100).expect("sized");
    refused(seal(odd), "whole number of pages");
    refused(
        seal(draft::make(page, Memory::Written).expect("draft")),
        "not all there",
    );
    // As much memory as it should have, but elsewhere.
    for seals in [
        SIZE_SEALS | SealFlags::SEAL,
        SIZE_SEALS | SealFlags::SEAL | SealFlags::WRITE,
    ] {
        for missing in [0..64, 0..1, 63..64, 20..40] {
            let sparse = memfd("test").expect("memfd");
            let len = 64 * page as u64;
            rustix::fs::ftruncate(&sparse, len).expect("sized");
            rustix::fs::fallocate(&sparse, FallocateFlags::KEEP_SIZE, 0, 2 * len)
                .expect("allocated");
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let (from, count) = (missing.start * page as u64, missing.count() as u64);
            rustix::fs::fallocate(&sparse, punch, from, count * page as u64).expect("a hole");
            rustix::fs::fcntl_add_seals(&sparse, seals).expect("seals");
            refused(sparse, "not all there");
        }
    }
    let endless = memfd("test").expect("memfd");
    rustix::fs::ftruncate(&endless, 1 << 60).expect("sized");
    refused(seal(endless), "not all there");

    // It cannot be sealed for writing while it is mapped to be written, so it is refused as
    // what it is: a region to be written, read-only.
    let file = seal(draft::make(page, Memory::Reserved).expect("draft"));
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let readable = std::fs::File::open(path).expect("opens again");
    let e = Region::receive(readable.into()).expect_err("not to be written");
    assert_eq!(e.kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn a_frozen_region_that_was_reserved_and_written_in_part_is_all_there() {
    let page = rustix::param::page_size();
    let len = 1000 * page;
    for written in [0..0, 0..1, 10..20, 999..1000, 0..1000] {
        let file = draft::make(len, Memory::Reserved).expect("draft");
        for at in written {
            rustix::io::pwrite(&file, &[1], (at * page) as u64).expect("written");
        }
        let seals = SIZE_SEALS | SealFlags::SEAL | SealFlags::WRITE;
        rustix::fs::fcntl_add_seals(&file, seals).expect("seals");
        let region = Region::receive(file).expect("whole");
        assert!(region.frozen() && region.len() == len);
    }
}

#[test]
fn huge_pages_are_refused() {
    let flags = rustix::fs::MemfdFlags::HUGETLB | rustix::fs::MemfdFlags::ALLOW_SEALING;
    let Ok(file) = rustix::fs::memfd_create("test", flags) else {
        eprintln!("skipped, because this kernel makes no memory files of huge pages");
        return;
    };
    rustix::fs::ftruncate(&file, 2 << 20).expect("sized");
    rustix::fs::fcntl_add_seals(&file, SIZE_SEALS | SealFlags::SEAL).expect("seals");
    refused(file, "another kind of memory");
}

#[test]
fn a_frozen_region_can_be_written_by_nobody() {
    let len = file_len(1, 100).expect("len");
    let file = draft::make(len, Memory::Reserved).expect("draft");
    let other = copy(&file);
    let region = Region::seal(file, true).expect("published");
    assert!(region.frozen());
    assert_eq!(
        rustix::io::pwrite(&other, &[1], 0),
        Err(rustix::io::Errno::PERM)
    );
    assert!(Mapping::writable(&other, len).is_err());
    assert!(rustix::fs::ftruncate(&other, 0).is_err());
    let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    assert!(rustix::fs::fallocate(&other, punch, 0, len as u64).is_err());
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let start = format!("{:x}-", region.at().addr());
    let line = maps
        .lines()
        .find(|l| l.starts_with(&start))
        .expect("mapped");
    assert!(line.contains(" r--s "), "{line}");
}

#[test]
fn a_region_is_mapped_once_whoever_drops_it_meanwhile() {
    let file = draft::make(file_len(1, 1).expect("len"), Memory::Reserved).expect("draft");
    let stat = rustix::fs::fstat(&file).expect("stat");
    let id = (stat.st_dev, stat.st_ino);
    let first = Region::seal(copy(&file), false).expect("published");
    let again = Region::receive(copy(&file)).expect("received");
    assert!(Arc::ptr_eq(&first, &again));
    drop((first, again));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let one = Region::receive(copy(&file)).expect("received");
                    let two = Region::receive(copy(&file)).expect("received");
                    // While one is held there is no other.
                    assert!(Arc::ptr_eq(&one, &two));
                }
            });
        }
    });
    let regions = REGIONS.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(!regions.contains_key(&id), "the last one takes it out");
}

/// A page of it lies in a pipe, for longer than the kernel waits for that.
#[test]
#[expect(unsafe_code, reason = "a system call with a page of this test")]
fn a_page_that_is_held_for_a_while_does_not_keep_it_from_being_sealed() {
    use std::time::Duration;
    let draft =
        draft::MappedDraft::new(draft::make(4096, Memory::Reserved).expect("a draft"), 4096)
            .expect("mapped");
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let page = libc::iovec {
        iov_base: draft.at().as_ptr().cast(),
        iov_len: 4096,
    };
    // SAFETY: the page is mapped; the pipe holds it from here on.
    let spliced = unsafe { libc::vmsplice(write.as_raw_fd(), &raw const page, 1, 0) };
    assert_eq!(spliced, 4096);
    let draft = draft.unmap();
    // The kernel does not tell that it waits; it is to have given up once.
    let reader = std::thread::spawn(move || {
        std::thread::park_timeout(Duration::from_millis(400));
        // Read, and not closed: a child that another test has made may have copies of both ends.
        let mut page = [0; 4096];
        assert_eq!(rustix::io::read(&read, &mut page[..]), Ok(4096));
    });
    Region::seal(draft, true).expect("sealed");
    reader.join().expect("it ends");
}
