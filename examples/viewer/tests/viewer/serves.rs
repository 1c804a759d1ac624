//! The page with the tabs, in a browser.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Scratch, viewer};

/// What only a hang exceeds.
const PATIENCE: Duration = Duration::from_secs(90);

struct Serving {
    program: Child,
    address: String,
}

impl Serving {
    fn start(dir: &Path) -> Serving {
        let options = [
            "--serve",
            "127.0.0.1:0",
            "--timeout",
            "15000",
            "--size",
            "256",
            "--memory",
            "128",
        ];
        let mut program = viewer()
            .arg(dir)
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let stdout = program.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("text");
        let address = line
            .trim()
            .strip_prefix("http://")
            .and_then(|rest| rest.strip_suffix('/'));
        Serving {
            address: address.expect("an address").to_owned(),
            program,
        }
    }

    fn ask(&self, what: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let request = format!("{what} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let head = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("a head");
        let body = answer.split_off(head + 4);
        (String::from_utf8(answer).expect("text"), body)
    }

    fn tabs(&self) -> Vec<serde_json::Value> {
        let (_, body) = self.ask("GET /tabs");
        serde_json::from_slice(&body).expect("JSON")
    }

    /// The tabs when none loads any more.
    fn ended(&self) -> Vec<serde_json::Value> {
        let start = Instant::now();
        loop {
            let tabs = self.tabs();
            if tabs.iter().all(|tab| tab["state"] != "loading") {
                return tabs;
            }
            assert!(start.elapsed() < PATIENCE, "{tabs:?}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.program.kill());
        drop(self.program.wait());
    }
}

#[test]
fn tabs_are_told_of_as_they_end_and_are_loaded_again() {
    let scratch = Scratch::with_all_documents();
    let serving = Serving::start(&scratch.0);
    let tabs = serving.ended();
    let place = |name: &str| {
        tabs.iter()
            .position(|tab| tab["name"] == name)
            .expect("a tab")
    };
    let clock = place("clock.svg");
    assert_eq!(tabs[clock]["state"], "drawn", "{}", tabs[clock]);
    let (head, png) = serving.ask(&format!("GET /picture/{clock}"));
    assert!(
        head.starts_with("HTTP/1.1 200") && png.starts_with(b"\x89PNG"),
        "{head}"
    );
    let crashed = place("chain-of-clip-paths.svg");
    assert_eq!(tabs[crashed]["state"], "crashed");
    let (head, _) = serving.ask(&format!("GET /picture/{crashed}"));
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");

    // Mended on disk, and loaded again.
    std::fs::copy(
        scratch.0.join("clock.svg"),
        scratch.0.join("chain-of-clip-paths.svg"),
    )
    .expect("copied");
    let (head, _) = serving.ask(&format!("POST /reload/{crashed}"));
    assert!(head.starts_with("HTTP/1.1 202"), "{head}");
    let start = Instant::now();
    while serving.tabs()[crashed]["state"] != "drawn" {
        assert!(start.elapsed() < PATIENCE);
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let (head, _) = serving.ask("POST /reload/1000000");
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
}

#[test]
fn a_browser_shows_them() {
    let browser = "/usr/bin/chromium";
    if !Path::new(browser).exists() {
        println!("skipped, because chromium is not installed");
        return;
    }
    let scratch = Scratch::with_all_documents();
    let serving = Serving::start(&scratch.0);
    serving.ended();
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .args(["--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!(
            "--user-data-dir={}",
            scratch.0.join("profile").display()
        ))
        .arg(format!("http://{}/", serving.address))
        .stderr(Stdio::null())
        .output()
        .expect("it starts");
    let page = String::from_utf8_lossy(&output.stdout);
    for text in [
        "11 tabs: 3 drawn, 0 loading, 8 ended otherwise",
        "data-state=\"escaping\"",
        "data-state=\"too-slow\"",
        "data-state=\"too-large\"",
        "a stack overflow",
        "newfstatat /etc/passwd",
        "src=\"/picture/",
    ] {
        assert!(page.contains(text), "`{text}` is not in the page: {page}");
    }
}
