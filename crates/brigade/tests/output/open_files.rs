//! Files that the program has open already, for workers to write to and to read.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use brigade::process::{Builder, Input, Output};
use brigade::{Kind, Pool};

use crate::write_numbers;

/// A file without a name.
fn nameless() -> File {
    let name = "brigade-open-file";
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    File::from(rustix::fs::memfd_create(name, flags).expect("a file"))
}

fn text_of(file: &mut File) -> String {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).expect("sought");
    file.read_to_string(&mut text).expect("is text");
    text
}

#[test]
fn what_workers_write_comes_to_the_end_of_an_open_file() {
    brigade::init();
    let mut file = nameless();
    file.write_all(b"before\n").expect("written");
    // Wherever it stands.
    file.seek(SeekFrom::Start(2)).expect("sought");
    let output = Output::from_file(&file).expect("an output");
    let builder = Builder::new().stdout(output.clone()).stderr(output);
    let pool = Pool::builder(Kind::Process).workers(2).process(builder);
    let pool = pool.build().expect("a pool");
    let written: u32 = pool.map(write_numbers, vec![500; 4]).flatten().sum();
    drop(pool);
    assert_eq!(written, 2_000);
    assert_eq!(file.stream_position().expect("it stands"), 2);
    let flags = rustix::fs::fcntl_getfl(&file).expect("flags");
    let ours = rustix::fs::OFlags::APPEND | rustix::fs::OFlags::NONBLOCK;
    assert!(!flags.intersects(ours), "{flags:?}");
    let text = text_of(&mut file);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("before"));
    let mut numbers: Vec<u32> = lines
        .map(|line| line.strip_prefix("line ").expect("a whole line"))
        .map(|number| number.parse().expect("a whole line"))
        .collect();
    numbers.sort();
    assert_eq!(numbers, (0..2_000).map(|n| n / 4).collect::<Vec<u32>>());
}

#[test]
fn each_worker_reads_an_open_file_from_its_beginning() {
    brigade::init();
    let mut file = nameless();
    file.write_all(b"the same for all").expect("written");
    let input = Input::from_file(&file).expect("an input");
    drop(file);
    let builder = Builder::new().stdin(input);
    let pool = Pool::builder(Kind::Process).workers(3).process(builder);
    let pool = pool.fresh_per_task(true).build().expect("a pool");
    let read = |_: u32| std::io::read_to_string(std::io::stdin()).expect("is text");
    for text in pool.map(read, 0..6) {
        assert_eq!(text.expect("returns"), "the same for all");
    }
}

#[test]
fn what_cannot_be_written_to_or_read_is_refused() {
    let kind = |refused: std::io::Result<Output>| refused.expect_err("refused").kind();
    let only_read = File::open("/proc/self/exe").expect("this program");
    assert_eq!(kind(Output::from_file(&only_read)), ErrorKind::InvalidInput);
    let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let socket = File::from(OwnedFd::from(socket));
    Output::from_file(&socket).expect_err("it cannot be opened again");
    let directory = File::open("/").expect("a directory");
    let refused = Input::from_file(&directory).expect_err("a directory");
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}
