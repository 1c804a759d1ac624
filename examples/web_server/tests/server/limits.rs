//! What one client may take: bytes, time, connections.

use std::io::{Read, Write};
use std::time::Duration;

use crate::client::Connection;
use crate::server::{Server, eventually};

#[test]
fn heads() {
    let server = Server::start(&[
        "--root",
        "root",
        "--max-head",
        "4096",
        "--max-headers",
        "20",
    ]);
    let long = "a".repeat(5000);
    let many = "a: b\r\n".repeat(30);
    for head in [
        format!("GET /{long} HTTP/1.1\r\nhost: test\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: test\r\nx: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: test\r\n{many}\r\n"),
    ] {
        let mut client = Connection::open(server.address);
        client.send(&head);
        assert_eq!(client.answer(true).expect("an answer").status, 431);
        assert!(client.is_closed());
    }
    let mut client = Connection::open(server.address);
    client.send("nonsense\r\n\r\n");
    assert_eq!(client.answer(true).expect("an answer").status, 400);
}

#[test]
fn bodies_announced_or_not() {
    let server = Server::start(&["--root", "root", "--max-body", "10000"]);
    let mut client = Connection::open(server.address);
    client.send("POST /gzip HTTP/1.1\r\nhost: test\r\ncontent-length: 10001\r\n\r\n");
    let refused = client
        .answer(true)
        .expect("an answer, and not a byte was sent");
    assert!(
        (refused.status, refused.closes()) == (413, true),
        "{refused:?}"
    );

    // It still sends when the answer comes, and gets to read that.
    let mut client = Connection::open(server.address);
    client.send("POST /gzip HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = format!("{:x}\r\n{}\r\n", 4000, "a".repeat(4000));
    for _ in 0..50 {
        client.send(&chunk);
    }
    assert_eq!(client.answer(true).expect("an answer").status, 413);

    let mut client = Connection::open(server.address);
    client.send("POST /gzip HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(&chunk);
    client.send("0\r\n\r\n");
    assert_eq!(client.answer(true).expect("an answer").status, 200);
}

#[test]
fn a_client_that_sends_slowly_is_given_up() {
    let server = Server::start(&[
        "--root",
        "root",
        "--head-timeout",
        "300",
        "--body-timeout",
        "300",
    ]);
    let mut in_its_head = Connection::open(server.address);
    in_its_head.send("GET / HTTP/1.1\r\nhost: te");
    assert!(in_its_head.is_closed());
    let mut silent = Connection::open(server.address);
    assert!(silent.is_closed());
    let mut in_its_body = Connection::open(server.address);
    in_its_body.send("POST /gzip HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nabc");
    let answer = in_its_body.answer(true).expect("an answer");
    assert!(
        (answer.status, answer.closes()) == (408, true),
        "{answer:?}"
    );
}

#[test]
fn a_client_that_reads_slowly_is_given_up() {
    let server = Server::start(&["--root", "root", "--write-timeout", "300"]);
    let large = vec![7_u8; 64 << 20];
    std::fs::write(server.dir.join("root/large"), &large).expect("written");
    let mut slow = Connection::open(server.address);
    slow.send("GET /large HTTP/1.1\r\nhost: test\r\n\r\n");
    let own = 1;
    eventually("its connection is gone", || {
        server.number("/connections") == own
    });
    let mut rest = Vec::new();
    let _ = slow.stream.read_to_end(&mut rest);
    assert!(rest.len() < large.len());
    // One that reads gets all of it.
    assert!(server.get("/large").body == large);
}

#[test]
fn connections_beyond_the_limit_wait() {
    let server = Server::start(&["--root", "root", "--max-connections", "2"]);
    let mut one = Connection::open(server.address);
    let mut two = Connection::open(server.address);
    assert_eq!((one.get("/").status, two.get("/").status), (200, 200));
    let mut three = Connection::open(server.address);
    three.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    let short = Duration::from_millis(300);
    three
        .stream
        .get_ref()
        .set_read_timeout(Some(short))
        .expect("set");
    three.answer(true).expect_err("it waits");
    three
        .stream
        .get_ref()
        .set_read_timeout(Some(crate::client::PATIENCE))
        .expect("set");
    drop(one);
    assert_eq!(three.answer(true).expect("an answer").status, 200);
    assert_eq!(two.get("/").status, 200);
}

#[test]
fn requests_beyond_the_queue_are_refused() {
    let server = Server::start(&[
        "--root",
        "root",
        "--handlers",
        "1",
        "--queue",
        "1",
        "--request-timeout",
        "3000",
    ]);
    let hang = || {
        let mut client = Connection::open(server.address);
        let request = b"GET /fault/hang HTTP/1.1\r\nhost: test\r\n\r\n";
        client
            .stream
            .get_mut()
            .write_all(request)
            .expect("it reads");
        client
    };
    let mut running = hang();
    eventually("the first runs", || server.number("/handlers/running") == 1);
    let mut queued = hang();
    eventually("the second waits", || {
        server.number("/handlers/queued") == 1
    });
    let refused = server.get("/gzip/text.txt");
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("1"))
    );
    // Files need no worker.
    assert_eq!(server.get("/").status, 200);
    assert_eq!(running.answer(true).expect("an answer").status, 504);
    assert_eq!(queued.answer(true).expect("an answer").status, 504);
}
