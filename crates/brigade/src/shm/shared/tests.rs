use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::*;
use crate::sys::mapping::{memfd, sized_memfd};

fn encode<T: Serialize>(value: &T) -> (Vec<u8>, Vec<OwnedFd>) {
    let (bytes, descriptors) = carry::collect(|| postcard::to_allocvec(value));
    (bytes.expect("encodes"), descriptors)
}

fn decode<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    descriptors: Vec<OwnedFd>,
) -> postcard::Result<T> {
    carry::provide(descriptors, || postcard::from_bytes(bytes))
}

/// There and back, as it is for a process that has never seen the region.
fn pass<T: Serialize + serde::de::DeserializeOwned>(value: T) -> T {
    let (bytes, descriptors) = encode(&value);
    drop(value);
    decode(&bytes, descriptors).expect("decodes")
}

/// The descriptors of this process that are of the same file. Other tests run in it too.
fn descriptors_of(shared: &Region) -> usize {
    let inode = rustix::fs::fstat(shared).expect("stat").st_ino;
    std::fs::read_dir("/proc/self/fd")
        .expect("readable")
        .filter_map(|entry| std::fs::metadata(entry.ok()?.path()).ok())
        .filter(|file| file.ino() == inode && file.size() > 0 && file.is_file())
        .count()
}

#[derive(ShmSafe, Clone, Copy, Debug, PartialEq)]
struct Unit;

#[derive(ShmSafe, Clone, Copy, Debug, PartialEq)]
struct Sample {
    small: u8,
    large: u128,
    floats: [f32; 3],
}

#[derive(ShmSafe)]
struct Mixed<T: Copy, const N: usize>(u32, [T; N], AtomicU64);

#[test]
fn values_arrive_as_they_were() {
    let sample = Sample {
        small: 1,
        large: 2 << 100,
        floats: [0.5, f32::INFINITY, -1.0],
    };
    let shared = pass(Shared::new(sample).expect("made"));
    assert!(shared.is_sealed() && *shared == sample);
    let mixed = pass(Shared::new(Mixed(7, [1_u8, 2, 3], AtomicU64::new(9))).expect("made"));
    assert!(!mixed.is_sealed());
    mixed.2.fetch_add(1, Ordering::Relaxed);
    assert_eq!(
        (mixed.0, mixed.1, mixed.2.load(Ordering::Relaxed)),
        (7, [1, 2, 3], 10)
    );
    let large: Vec<u64> = (0..1_000_000).collect();
    let slice = pass(Shared::from_slice(&large).expect("made"));
    assert_eq!(*slice, *large);
    assert_eq!(slice, Shared::from_slice(&large).expect("made"));
}

#[test]
fn nothing_arrives_as_nothing() {
    assert_eq!(*pass(Shared::new(Unit).expect("made")), Unit);
    assert_eq!(*pass(Shared::new([0_u64; 0]).expect("made")), [0_u64; 0]);
    assert!(pass(Shared::<[u64]>::from_slice(&[]).expect("made")).is_empty());
    assert!(pass(Shared::<[u64]>::zeroed(0).expect("made")).is_empty());
    assert!(pass(Shared::<[AtomicU8]>::zeroed(0).expect("made")).is_empty());
    assert_eq!(
        pass(Shared::<[()]>::zeroed(usize::MAX).expect("made")).len(),
        usize::MAX
    );
    assert_eq!(
        *pass(Shared::from_slice(&[Unit; 3]).expect("made")),
        [Unit; 3]
    );
}

#[test]
fn zeroed_is_zero_to_the_last_byte_around_a_page() {
    for len in [1, 4095, 4096, 4097, 65_537] {
        let bytes = Shared::<[AtomicU8]>::zeroed(len).expect("made");
        assert!(bytes.len() == len && bytes.iter().all(|b| b.load(Ordering::Relaxed) == 0));
        bytes[len - 1].store(1, Ordering::Relaxed);
        assert_eq!(pass(bytes)[len - 1].load(Ordering::Relaxed), 1);
    }
}

#[test]
fn what_is_written_at_one_end_is_read_at_the_other() {
    let here = Shared::new(AtomicU32::new(0)).expect("made");
    // Another mapping of the same file: as another process has it.
    let there = crate::sys::mapping::Mapping::writable(&here.region, 4096).expect("mapped");
    // SAFETY: the mapping is a page, and the first four bytes of it are the atomic, at both
    // addresses.
    let there = unsafe { there.at().cast::<AtomicU32>().as_ref() };
    there.store(5, Ordering::Release);
    assert_eq!(here.load(Ordering::Acquire), 5);
}

#[test]
fn too_many_are_an_error() {
    assert!(Shared::<[u64]>::zeroed(usize::MAX).is_err());
    assert!(Shared::<[u64]>::zeroed(usize::MAX / 8 + 2).is_err());
    assert!(Shared::<[u64]>::zeroed(isize::MAX as usize / 8).is_err());
    assert!(Shared::<[AtomicU8]>::zeroed(1 << 50).is_err());
}

#[test]
fn a_thousand_arrivals_cost_one_descriptor() {
    let shared = Shared::<[AtomicU8]>::zeroed(5000).expect("made");
    let arrived: Vec<Shared<[AtomicU8]>> = (0..1000)
        .map(|_| {
            let (bytes, descriptors) = encode(&shared);
            decode(&bytes, descriptors).expect("decodes")
        })
        .collect();
    assert_eq!(descriptors_of(&shared.region), 1);
    assert!(arrived.iter().all(|a| Shared::ptr_eq(a, &shared)));
    assert!(
        arrived.iter().all(|a| std::ptr::eq(&**a, &*shared)),
        "at one address"
    );
    // One message that names it a hundred times, to a process that does not have it.
    let all = pass(vec![shared.clone(); 100]);
    assert_eq!(descriptors_of(&shared.region), 1);
    drop((all, arrived));
    let shared = pass(shared);
    assert_eq!(descriptors_of(&shared.region), 1);
}

#[test]
fn what_is_not_of_the_type_is_refused() {
    fn refused<T: serde::de::DeserializeOwned + std::fmt::Debug>(wire: SharedWire, file: &OwnedFd) {
        let bytes = postcard::to_allocvec(&wire).expect("encodes");
        let file = rustix::io::fcntl_dupfd_cloexec(file, 3).expect("dup");
        decode::<T>(&bytes, vec![file]).expect_err("refused");
    }
    let seal = |frozen| {
        let file = draft::make(8192, Memory::Reserved).expect("draft");
        let copy = rustix::io::fcntl_dupfd_cloexec(&file, 3).expect("dup");
        (Region::seal(file, frozen).expect("published"), copy)
    };
    let (_frozen, file) = seal(true);
    decode::<Shared<[u8]>>(
        &[0, 0x88, 0x27],
        vec![rustix::io::fcntl_dupfd_cloexec(&file, 3).expect("dup")],
    )
    .expect("5000 bytes are two pages");
    for count in [0, 1, 4096, 8193, u64::MAX, u64::MAX - 8191, 1 << 63] {
        refused::<Shared<[u8]>>((0, count), &file);
    }
    refused::<Shared<[u64]>>((0, u64::MAX / 8 + 1 + 1024), &file);
    refused::<Shared<[u8]>>((1, 5000), &file);
    refused::<Shared<[()]>>((0, 5000), &file);
    refused::<Shared<u8>>((0, 1), &file);
    refused::<Shared<[u8; 8192]>>((0, 2), &file);
    refused::<Shared<[AtomicU8]>>((0, 5000), &file);
    let (_open, file) = seal(false);
    refused::<Shared<[u8]>>((0, 5000), &file);
    let unsealed = memfd("test").expect("memfd");
    rustix::fs::ftruncate(&unsealed, 8192).expect("sized");
    refused::<Shared<[AtomicU8]>>((0, 5000), &unsealed);
    refused::<Shared<[AtomicU8]>>((0, 5000), &sized_memfd("test", 8192).expect("sparse"));
    refused::<Shared<[AtomicU8]>>((0, 5000), &rustix::pipe::pipe().expect("pipe").0);
    assert!(
        decode::<Shared<u8>>(&[0, 1], Vec::new()).is_err(),
        "no descriptor"
    );
}

#[test]
fn only_messages_carry_it() {
    let shared = Shared::new(1_u8).expect("made");
    postcard::to_allocvec(&shared).expect_err("nobody collects");
}

#[test]
fn it_says_what_it_is() {
    let shared = Shared::from_slice(&[1_u16, 2]).expect("made");
    assert_eq!(format!("{shared:?}"), "[1, 2]");
}

/// Runs one of these tests again in a process of its own, for what it does to that process.
fn alone(test: &str) -> bool {
    const HERE: &str = "BRIGADE_TEST_ALONE";
    if std::env::var_os(HERE).is_some() {
        return true;
    }
    let ended = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            &format!("{}::{test}", module_path!().trim_start_matches("brigade::")),
        ])
        .env(HERE, "1")
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{}: {said}", ended.status);
    assert!(said.contains("1 passed"), "{said}");
    false
}

fn limit(what: rustix::process::Resource, to: u64) {
    let mut limit = rustix::process::getrlimit(what);
    limit.current = Some(to);
    rustix::process::setrlimit(what, limit).expect("setrlimit");
}

#[test]
fn over_the_limit_of_files_is_an_error_and_no_signal() {
    if alone("over_the_limit_of_files_is_an_error_and_no_signal") {
        limit(rustix::process::Resource::Fsize, 10_000);
        let refused = |e: io::Error| assert_eq!(e.kind(), io::ErrorKind::FileTooLarge, "{e}");
        refused(Shared::<[AtomicU8]>::zeroed(10_000).expect_err("three pages"));
        refused(Shared::from_slice(&[1_u8; 10_000]).expect_err("three pages"));
        refused(Shared::new([1_u8; 10_000]).expect_err("three pages"));
        refused(super::super::Buffer::zeroed(10_000).expect_err("three pages"));
        Shared::from_slice(&[1_u8; 8000]).expect("two pages");
    }
}

#[test]
fn over_the_limit_of_addresses_is_an_error() {
    if alone("over_the_limit_of_addresses_is_an_error") {
        limit(rustix::process::Resource::As, 2 << 30);
        let refused = |e: io::Error| assert_eq!(e.kind(), io::ErrorKind::OutOfMemory, "{e}");
        refused(Shared::<[AtomicU8]>::zeroed(2 << 30).expect_err("there is no room"));
        refused(super::super::Buffer::zeroed(2 << 30).expect_err("there is no room"));
        Shared::<[AtomicU8]>::zeroed(1 << 20).expect("there is room");
    }
}

#[test]
fn out_of_descriptors_is_an_error() {
    if alone("out_of_descriptors_is_an_error") {
        let shared = Shared::new(1_u8).expect("made");
        let (bytes, descriptors) = encode(&shared);
        limit(rustix::process::Resource::Nofile, 3);
        assert!(Shared::new(1_u8).is_err());
        decode::<Shared<u8>>(&bytes, descriptors).expect("needs no more than came");
    }
}

/// Not a test of speed: figures to look at.
/// `cargo test --release -p brigade --lib shm -- --ignored --nocapture figures`
#[test]
#[ignore = "prints figures"]
fn figures() {
    use super::super::Buffer;
    const LEN: usize = 64 << 20;
    fn timed<R>(what: &str, run: impl FnOnce() -> R) -> R {
        let start = std::time::Instant::now();
        let result = run();
        println!("{:>10.3} ms  {what}", start.elapsed().as_secs_f64() * 1e3);
        result
    }
    let source = vec![7_u8; LEN];
    for _ in 0..3 {
        println!();
        let mut buffer = timed("Buffer::zeroed, 64 MiB", || Buffer::zeroed(LEN)).expect("made");
        timed("fill it", || buffer.fill(1));
        timed("fill it again", || buffer.fill(2));
        let shared = timed("into_shared", || buffer.into_shared()).expect("sealed");
        timed("read every page of it", || {
            shared
                .iter()
                .step_by(4096)
                .map(|&b| u64::from(b))
                .fold(0, |sum, byte| std::hint::black_box(sum + byte))
        });
        let (bytes, descriptors) = timed("encode", || encode(&shared));
        let again: Shared<[u8]> =
            timed("decode, known here", || decode(&bytes, descriptors)).expect("decodes");
        let (bytes, descriptors) = encode(&shared);
        timed("drop", || drop((again, shared)));
        let again: Shared<[u8]> =
            timed("decode, new here", || decode(&bytes, descriptors)).expect("decodes");
        drop(again);
        let copied = timed("from_slice, 64 MiB", || Shared::from_slice(&source)).expect("made");
        drop(copied);
        let atomics = timed("zeroed atomics, 64 MiB", || {
            Shared::<[AtomicU8]>::zeroed(LEN)
        })
        .expect("made");
        drop(atomics);
        timed("1000 x new(u64), dropped", || {
            (0..1000_u64).for_each(|n| drop(Shared::new(n).expect("made")))
        });
    }
}
