//! Counts words by a library that crashes, hangs and leaks: a process for each text, two at a time.
use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use side_by_side::{TEXTS, count_words};

fn count_in_a_process(text: &str) -> io::Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.arg(text).stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().expect("it is piped");
    let (tell, told) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut words = String::new();
        let _ = tell.send(output.read_to_string(&mut words).map(|_| words));
    });
    let words = told.recv_timeout(Duration::from_secs(1));
    if words.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    reader.join().expect("the reader does not panic");
    Ok(match words {
        Ok(words) if status.success() => words?,
        Ok(_) => "crashed".to_owned(),
        Err(_) => "took too long".to_owned(),
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(text) = std::env::args().nth(1) {
        print!("{}", count_words(text));
        return Ok(());
    }
    let queue = Mutex::new(TEXTS.iter().enumerate());
    let results = Mutex::new(vec![None; TEXTS.len()]);
    let next = || queue.lock().expect("nobody panics").next();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((n, text)) = next() {
                    let words = count_in_a_process(text).map_err(|e| e.to_string());
                    results.lock().expect("nobody panics")[n] = Some(words);
                }
            });
        }
    });
    let results = results.into_inner()?;
    for (text, words) in TEXTS.iter().zip(results) {
        println!("{text}: {}", words.expect("each was counted")?);
    }
    Ok(())
}
