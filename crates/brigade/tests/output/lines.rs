//! Lines that the program reads: whose they are, and how they end.

use std::collections::BTreeMap;

use brigade::process::{Builder, Output};
use brigade::{JoinError, Kind, Pool};

use crate::{die_in_a_line, read_all, texts, write_numbers};

fn double(n: u32) -> u32 {
    println!("double {n}");
    2 * n
}

fn square(n: u32) -> u32 {
    println!("square {n}");
    eprintln!("square {n}");
    n * n
}

#[test]
fn a_line_says_whose_it_is() {
    brigade::init();
    let (output, lines) = Output::lines().expect("lines");
    let builder = Builder::new().stdout(output.clone()).stderr(output);
    let lines = read_all(lines);
    let worker = builder.spawn(square, 3).expect("a worker");
    let pid = worker.pid();
    assert_eq!(worker.join().expect("it returns"), 9);
    drop(builder);
    let lines = lines.join().expect("read");
    assert_eq!(texts(&lines), ["square 3"; 2]);
    for line in &lines {
        assert!(line.is_whole() && line.lost() == 0, "{line:?}");
        assert_eq!(line.task(), Some("output::lines::square"));
        assert!(pid.is_none_or(|pid| pid == line.pid()));
        let shown = format!("[{} output::lines::square] square 3", line.pid());
        assert_eq!(line.to_string(), shown);
    }
    let to_stderr = lines.iter().filter(|line| line.is_stderr()).count();
    assert_eq!(to_stderr, 1);
}

#[test]
fn lines_of_a_pool_are_those_of_their_tasks() {
    brigade::init();
    let (output, lines) = Output::lines().expect("lines");
    let lines = read_all(lines);
    let builder = Builder::new().stdout(output.clone()).stderr(output);
    let pool = Pool::builder(Kind::Process).workers(3).process(builder);
    let pool = pool.build().expect("a pool");
    let pids = pool.pids();
    let handles: Vec<_> = (0..300)
        .map(|n| match n % 7 {
            0 | 1 | 4 => pool.submit(double, n),
            _ => pool.submit(square, n),
        })
        .collect();
    for handle in handles {
        handle.join().expect("it returns");
    }
    drop(pool);
    let mut seen = BTreeMap::new();
    for line in lines.join().expect("read") {
        assert!(pids.contains(&line.pid()), "{line:?}");
        let (function, n) = line.text().split_once(' ').expect("two words");
        let n: u32 = n.parse().expect("a number");
        let is_double = matches!(n % 7, 0 | 1 | 4);
        assert_eq!(function, if is_double { "double" } else { "square" });
        let task = line.task().expect("a task wrote it");
        assert_eq!(task, format!("output::lines::{function}"));
        *seen.entry(n).or_insert(0) += if is_double { 2 } else { 1 };
    }
    let all: BTreeMap<u32, u32> = (0..300).map(|n| (n, 2)).collect();
    assert_eq!(seen, all);
}

#[test]
fn an_initializer_writes_before_any_task() {
    brigade::init();
    let (output, lines) = Output::lines().expect("lines");
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .initializer(|| println!("ready"))
        .process(Builder::new().stdout(output));
    let pool = pool.build().expect("a pool");
    pool.submit(double, 1).join().expect("it returns");
    drop(pool);
    let lines: Vec<_> = lines.collect();
    assert_eq!(texts(&lines), ["ready", "double 1"]);
    assert_eq!(lines[0].task(), None);
    assert_eq!(lines[1].task(), Some("output::lines::double"));
}

#[test]
fn a_worker_that_dies_in_a_line_has_written_its_beginning() {
    brigade::init();
    for in_pool in [false, true] {
        let (output, lines) = Output::lines().expect("lines");
        let lines = read_all(lines);
        let builder = Builder::new().stdout(output.clone()).stderr(output);
        let result = if in_pool {
            let pool = Pool::builder(Kind::Process).workers(1).process(builder);
            let pool = pool.build().expect("a pool");
            pool.submit(double, 1).join().expect("it returns");
            pool.submit(die_in_a_line, ()).join()
        } else {
            let spawned = builder.spawn(die_in_a_line, ()).expect("a worker");
            drop(builder);
            spawned.join()
        };
        let Err(JoinError::Crashed(crash)) = result else {
            panic!("{result:?}");
        };
        // What the streams carry beside the text is not told.
        assert_eq!(crash.stderr(), "whole\nto stderr");
        let mut lines = lines.join().expect("read");
        lines.retain(|line| line.text() != "double 1");
        let mut told: Vec<_> = lines
            .iter()
            .map(|line| (line.is_stderr(), line.text(), line.is_whole()))
            .collect();
        told.sort();
        let expected = [
            (false, "to stdout", false),
            (true, "to stderr", false),
            (true, "whole", true),
        ];
        assert_eq!(told, expected);
        for line in &lines {
            assert_eq!(line.task(), Some("output::die_in_a_line"), "{line:?}");
        }
    }
}

#[test]
fn a_line_of_any_length_arrives_in_parts() {
    brigade::init();
    let (output, lines) = Output::lines().expect("lines");
    let lines = read_all(lines);
    let write = |length: usize| print!("{}\nend", "x".repeat(length));
    let worker = Builder::new().stdout(output).spawn(write, 100_000);
    worker.expect("a worker").join().expect("it returns");
    let lines = lines.join().expect("read");
    let (last, parts) = lines.split_last().expect("lines");
    assert_eq!((last.text(), last.is_whole()), ("end", false));
    let whole = parts.iter().map(|line| line.is_whole()).collect::<Vec<_>>();
    let (end, begin) = whole.split_last().expect("parts");
    assert!(*end && begin.iter().all(|is_whole| !is_whole), "{whole:?}");
    let length: usize = parts.iter().map(|line| line.text().len()).sum();
    assert_eq!(length, 100_000);
}

/// A mark between two tasks meets the beginning of a line of any length.
#[test]
fn tasks_are_told_apart_whatever_is_left_of_a_line() {
    fn leave(length: usize) {
        print!("{}", "x".repeat(length));
    }
    fn end(_: usize) {
        println!("end");
    }
    brigade::init();
    let (output, lines) = Output::lines().expect("lines");
    let lines = read_all(lines);
    let builder = Builder::new().stdout(output);
    let pool = Pool::builder(Kind::Process).workers(1).process(builder);
    let pool = pool.build().expect("a pool");
    // The longest beginning that is held back is 8192 bytes long.
    let lengths = [
        0, 1, 255, 256, 4095, 4096, 8140, 8150, 8170, 8191, 8192, 8193,
    ];
    for length in lengths {
        pool.submit(leave, length).join().expect("it returns");
        pool.submit(end, 0).join().expect("it returns");
    }
    drop(pool);
    let (mut left, mut ends) = (0, 0);
    for line in lines.join().expect("read") {
        if line.text() == "end" {
            assert!(line.task().is_some_and(|task| task.ends_with("::end")));
            ends += 1;
        } else {
            assert!(line.task().is_some_and(|task| task.ends_with("::leave")));
            assert!(line.text().bytes().all(|b| b == b'x'), "{line:?}");
            left += line.text().len();
        }
    }
    assert_eq!((left, ends), (lengths.iter().sum(), lengths.len()));
}

#[test]
fn children_of_a_worker_write_there_too() {
    brigade::init();
    let (output, lines) = Output::lines().expect("lines");
    let echo = |()| {
        let echo = std::process::Command::new("echo")
            .arg("of a child")
            .status();
        assert!(echo.expect("echo(1)").success());
    };
    let worker = Builder::new().stdout(output).spawn(echo, ());
    worker.expect("a worker").join().expect("it returns");
    assert_eq!(texts(&lines.collect::<Vec<_>>()), ["of a child"]);
}

/// The program's own stays where it is: a task that puts something else there is not marked in it.
#[test]
fn a_task_may_put_its_stdout_elsewhere() {
    fn elsewhere(path: String) {
        use std::os::fd::AsRawFd;
        let file = std::fs::File::create(path).expect("a file");
        // SAFETY: stdout is open for as long as the process lives.
        let placed = unsafe { libc::dup2(file.as_raw_fd(), 1) };
        assert_eq!(placed, 1);
    }
    brigade::init();
    let path = std::env::temp_dir().join(format!("brigade-elsewhere-{}", std::process::id()));
    let (output, lines) = Output::lines().expect("lines");
    let builder = Builder::new().stdout(output);
    let pool = Pool::builder(Kind::Process).workers(1).process(builder);
    let pool = pool.build().expect("a pool");
    let text = path.to_str().expect("text").to_owned();
    pool.submit(elsewhere, text).join().expect("it returns");
    pool.submit(double, 1).join().expect("it returns");
    drop(pool);
    let written = std::fs::read_to_string(&path).expect("a file");
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(written, "double 1\n");
    assert_eq!(lines.count(), 0);
}

#[test]
fn everything_that_is_written_is_read() {
    brigade::init();
    let (output, lines) = Output::lines().expect("lines");
    let lines = read_all(lines);
    let builder = Builder::new().stdout(output);
    let pool = Pool::builder(Kind::Process).workers(4).process(builder);
    let pool = pool.build().expect("a pool");
    let written: u32 = pool.map(write_numbers, vec![5_000; 8]).flatten().sum();
    drop(pool);
    let lines = lines.join().expect("read");
    assert_eq!((written, lines.len()), (40_000, 40_000));
    assert!(lines.iter().all(|line| line.is_whole() && line.lost() == 0));
}
