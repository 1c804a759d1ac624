//! Reload and stop: no request is lost by either.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use crate::client::Connection;
use crate::server::{Server, eventually, is_alive, new_dir, text};

const KINDS: [&str; 2] = ["process", "thread"];

/// One that is configured by `config.toml`, with two directories to serve.
fn configured(kind: &str) -> Server {
    let dir = new_dir();
    std::fs::create_dir(dir.join("other")).expect("made");
    std::fs::write(dir.join("other/index.html"), "other\n").expect("written");
    std::fs::write(dir.join("config.toml"), "root = 'root'\n").expect("written");
    Server::start_in(dir, &["--config", "config.toml", "--workers", kind])
}

fn reload(server: &Server) {
    let before = server.logged("accepts no more");
    server.signal(Signal::HUP);
    // Until then it accepts as well as the next one.
    eventually("the old front accepts no more", || {
        server.logged("accepts no more") > before
    });
}

#[test]
fn a_reload_reads_the_file_again() {
    for kind in KINDS {
        let server = configured(kind);
        let old = server.number("/pid");
        let mut idle = Connection::open(server.address);
        assert_eq!(idle.get("/").text(), "<p>hello</p>\n");
        let mut in_its_body = Connection::open(server.address);
        let body = text();
        let head = format!(
            "POST /gzip HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        in_its_body.send(&head);
        in_its_body.send_bytes(&body[..1000]);
        eventually("all three are accepted", || {
            server.number("/connections") == 3
        });

        std::fs::write(server.dir.join("config.toml"), "root = 'other'\n").expect("written");
        reload(&server);
        assert_eq!(server.get("/").text(), "other\n");
        // Who was connected before is served as before, and then told to connect again.
        in_its_body.send_bytes(&body[1000..]);
        let answer = in_its_body.answer(true).expect("an answer");
        assert!(
            (answer.status, answer.closes()) == (200, true),
            "{answer:?}"
        );
        eventually("the old front drains", || {
            let answer = idle.get("/");
            assert_eq!(answer.text(), "<p>hello</p>\n");
            answer.closes()
        });
        assert!(idle.is_closed());
        if kind == "process" {
            assert_ne!(server.number("/pid"), old);
            eventually("the old front is gone", || !is_alive(old));
        }
    }
}

#[test]
fn a_file_that_makes_no_sense_changes_nothing() {
    let server = configured("process");
    let before = server.number("/pid");
    let bad = [
        "root = 5",
        "rot = 'other'",
        "root = 'nowhere'",
        "root = 'other'\nthreads = 0",
    ];
    for (index, text) in bad.into_iter().enumerate() {
        std::fs::write(server.dir.join("config.toml"), text).expect("written");
        server.signal(Signal::HUP);
        eventually("it says so", || server.logged("not reloaded") == index + 1);
    }
    assert_eq!(
        (server.number("/generation"), server.number("/pid")),
        (1, before)
    );
    std::fs::write(server.dir.join("config.toml"), "root = 'root'").expect("written");
    reload(&server);
    assert_ne!(server.number("/pid"), before);
    assert_eq!(server.get("/").text(), "<p>hello</p>\n");
}

#[test]
fn reloads_under_load_lose_no_request() {
    for kind in KINDS {
        let server = configured(kind);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = Connection::open(server.address);
                        let mut requests = 0;
                        while !is_over.load(Ordering::Relaxed) {
                            let path = if requests % 2 == 0 {
                                "/"
                            } else {
                                "/gzip/text.txt"
                            };
                            let answer = client.try_get(path).expect("an answer");
                            assert_eq!(answer.status, 200);
                            if answer.closes() {
                                client = Connection::open(server.address);
                            }
                            requests += 1;
                        }
                        requests
                    })
                })
                .collect();
            for _ in 0..5 {
                reload(&server);
            }
            is_over.store(true, Ordering::Relaxed);
            for client in clients {
                assert!(client.join().expect("each request was answered") > 0);
            }
        });
        assert_eq!(server.number("/generation"), 6);
    }
}

#[test]
fn a_stop_finishes_what_was_begun() {
    for kind in KINDS {
        let mut server = configured(kind);
        let front = server.number("/pid");
        let mut idle = Connection::open(server.address);
        assert_eq!(idle.get("/").status, 200);
        let mut busy = Connection::open(server.address);
        let body = text();
        let len = body.len();
        busy.send(&format!(
            "POST /gzip HTTP/1.1\r\nhost: test\r\ncontent-length: {len}\r\n\r\n"
        ));
        busy.send_bytes(&body[..1000]);
        eventually("all three are accepted", || {
            server.number("/connections") == 3
        });

        server.signal(Signal::TERM);
        // Idle ones are closed at once.
        assert!(idle.is_closed());
        busy.send_bytes(&body[1000..]);
        let answer = busy.answer(true).expect("an answer");
        assert!(
            (answer.status, answer.closes()) == (200, true),
            "{answer:?}"
        );
        assert_eq!(server.wait().code(), Some(0));
        assert!(!is_alive(front));
    }
}

/// A client that is slow holds up its own front, and no other: each closes what is idle at once.
#[test]
fn all_fronts_stop_at_the_same_time() {
    for kind in KINDS {
        let mut server = Server::start(&["--root", "root", "--workers", kind, "--fronts", "3"]);
        // Each front has some, most likely.
        let mut idle: Vec<_> = (0..12).map(|_| Connection::open(server.address)).collect();
        for client in &mut idle {
            assert_eq!(client.get("/").status, 200);
        }
        let mut busy = Connection::open(server.address);
        busy.send("POST /gzip HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n01234");
        // It is accepted after it, by whichever front.
        assert_eq!(server.get("/status").status, 200);
        server.signal(Signal::TERM);
        for client in &mut idle {
            assert!(client.is_closed());
        }
        // In time: its body may take 30 s.
        busy.send("56789");
        assert_eq!(busy.answer(true).expect("an answer").status, 200);
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut server = configured("process");
    let front = server.number("/pid");
    let mut busy = Connection::open(server.address);
    busy.send("POST /gzip HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nabc");
    eventually("both are accepted", || server.number("/connections") == 2);
    server.signal(Signal::TERM);
    eventually("it is stopping", || {
        server.logged("stopping: requests") == 1
    });
    server.signal(Signal::TERM);
    server.wait();
    assert!(!is_alive(front));
}
