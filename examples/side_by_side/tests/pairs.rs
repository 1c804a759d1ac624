//! Both programs of each pair say the same, and README has their lengths.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Only a hang takes so long.
const LIMIT: Duration = Duration::from_secs(60);

fn output(program: &str) -> String {
    let output = Command::new(program).output().expect("it starts");
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

macro_rules! pair {
    ($name:ident, $ours:literal, $theirs:literal, $lines:literal) => {
        #[test]
        fn $name() {
            let ours = output(env!(concat!("CARGO_BIN_EXE_", $ours)));
            assert_eq!(ours, output(env!(concat!("CARGO_BIN_EXE_", $theirs))));
            assert_eq!(ours.lines().count(), $lines, "{ours}");
        }
    };
}

pair!(pictures, "table_brigade", "table_rayon", 24);
pair!(a_product, "matrix_brigade", "matrix_rayon", 1);
pair!(an_account, "actor_brigade", "actor_std", 6);
pair!(a_library, "library_brigade", "library_std", 8);

/// A server, which ends with this.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(program: &str) -> Server {
        let mut command = Command::new(program);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut address = String::new();
        let output = child.stdout.as_mut().expect("it is piped");
        BufReader::new(output)
            .read_line(&mut address)
            .expect("its address");
        let address = address.trim().to_owned();
        Server { child, address }
    }

    fn ask(&self, millis: u64) -> TcpStream {
        let mut connection = TcpStream::connect(&self.address).expect("it listens");
        connection.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let request =
            format!("GET /work/{millis} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).expect("sent");
        connection
    }

    /// The status of its answer.
    fn status(&self, millis: u64) -> String {
        let mut answer = String::new();
        self.ask(millis)
            .read_to_string(&mut answer)
            .expect("an answer");
        answer.split(' ').nth(1).expect("a status").to_owned()
    }

    /// Asks until the answer has this status.
    fn until(&self, status: &str) {
        let begun = Instant::now();
        while self.status(1) != status {
            assert!(begun.elapsed() < LIMIT, "never {status}");
        }
    }
}

/// The status of an answer; nothing if none came: the connection was reset, or closed.
fn status(mut connection: &TcpStream) -> String {
    let mut answer = String::new();
    let _ = connection.read_to_string(&mut answer);
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serves_refuses_and_cancels(program: &str) {
    let server = Server::start(program);
    assert_eq!(server.status(1), "200");
    // More than there is room for, whatever has begun: one is refused at once.
    let clients: Vec<TcpStream> = (0..8).map(|_| server.ask(3_600_000)).collect();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for client in &clients {
            let tell = tell.clone();
            scope.spawn(move || tell.send(status(client)));
        }
        assert_eq!(told.recv_timeout(LIMIT).expect("one is refused"), "503");
        // The others are still at work, and go.
        for client in &clients {
            client.shutdown(Shutdown::Both).expect("shut down");
        }
    });
    server.until("200");
}

#[test]
fn a_service_of_brigade() {
    serves_refuses_and_cancels(env!("CARGO_BIN_EXE_service_brigade"));
}

#[test]
fn a_service_of_tokio() {
    serves_refuses_and_cancels(env!("CARGO_BIN_EXE_service_tokio"));
}

/// Lines that are neither empty nor comments.
fn lines(program: &str) -> usize {
    let path = format!("{}/src/bin/{program}.rs", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("its source");
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    text.lines().filter(is_code).count()
}

#[test]
fn readme_has_their_lengths() {
    let readme = include_str!("../README.md");
    for (ours, theirs) in [
        ("table_brigade", "table_rayon"),
        ("matrix_brigade", "matrix_rayon"),
        ("actor_brigade", "actor_std"),
        ("library_brigade", "library_std"),
        ("service_brigade", "service_tokio"),
    ] {
        let row = format!(
            "| `{ours}` | {} | `{theirs}` | {} |",
            lines(ours),
            lines(theirs)
        );
        assert!(readme.contains(&row), "README says otherwise than {row}");
    }
}
