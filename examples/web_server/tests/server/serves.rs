//! Files, compression, another server: what a client gets when all goes well, and when it asks for
//! what it may not have.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::symlink;

use flate2::read::GzDecoder;

use crate::client::Connection;
use crate::server::{Server, text};

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut whole).expect("gzip");
    whole
}

#[test]
fn files_whole_in_part_and_not_again() {
    let server = Server::start(&["--root", "root"]);
    let mut client = Connection::open(server.address);
    let whole = client.get("/text.txt");
    assert_eq!((whole.status, &whole.body), (200, &text()));
    assert_eq!(whole.header("content-type"), Some("text/plain"));
    let tag = whole.header("etag").expect("a tag").to_owned();
    client.send(&format!(
        "GET /text.txt HTTP/1.1\r\nhost: test\r\nif-none-match: {tag}\r\n\r\n"
    ));
    let known = client.answer(false).expect("an answer");
    assert_eq!((known.status, known.header("content-length")), (304, None));
    client.send(&format!(
        "HEAD /text.txt HTTP/1.1\r\nhost: test\r\nif-none-match: {tag}\r\n\r\n"
    ));
    let known = client.answer(false).expect("an answer");
    assert_eq!((known.status, known.header("content-length")), (304, None));
    client.send("GET /text.txt HTTP/1.1\r\nhost: test\r\nrange: bytes=100000-299999\r\n\r\n");
    let part = client.answer(true).expect("an answer");
    assert_eq!(
        (part.status, &part.body[..]),
        (206, &text()[100_000..text().len().min(300_000)])
    );
    client.send("HEAD /text.txt HTTP/1.1\r\nhost: test\r\n\r\n");
    let head = client.answer(false).expect("an answer");
    assert_eq!(
        head.header("content-length"),
        Some(text().len().to_string().as_str())
    );
    client.send("HEAD /text.txt HTTP/1.1\r\nhost: test\r\nrange: bytes=0-9\r\n\r\n");
    assert_eq!(client.answer(false).expect("an answer").status, 200);
    for hosts in ["", "host: a\r\nhost: b\r\n"] {
        client.send(&format!("GET / HTTP/1.1\r\n{hosts}\r\n"));
        assert_eq!(client.answer(true).expect("an answer").status, 400);
    }
    assert_eq!(client.get("/").text(), "<p>hello</p>\n");
    assert_eq!(client.get("/sub/").text(), "<p>beneath</p>\n");
    let moved = client.get("/sub");
    assert_eq!(
        (moved.status, moved.header("location")),
        (301, Some("/sub/"))
    );
    // `//sub/` would be a host of that name.
    let moved = client.get("//sub");
    assert_eq!(
        (moved.status, moved.header("location")),
        (301, Some("/sub/"))
    );
    client.send("DELETE / HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(client.answer(true).expect("an answer").status, 405);
}

/// A client that has said that it sends no more gets all that it has asked for.
#[test]
fn half_closed_connections_are_answered() {
    for kind in ["process", "thread"] {
        let server = Server::start(&["--root", "root", "--workers", kind]);
        let mut client = Connection::open(server.address);
        for path in ["/gzip/text.txt", "/text.txt", "/fault/panic", "/"] {
            client.send(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
        }
        let stream = client.stream.get_ref();
        stream.shutdown(Shutdown::Write).expect("it is open");
        assert!(gunzip(&client.answer(true).expect("an answer").body) == text());
        assert!(client.answer(true).expect("an answer").body == text());
        assert_eq!(client.answer(true).expect("an answer").status, 500);
        assert_eq!(client.answer(true).expect("an answer").status, 200);
        assert!(client.is_closed());
        // And one that sends nothing is let go.
        let silent = Connection::open(server.address);
        let stream = silent.stream.get_ref();
        stream.shutdown(Shutdown::Write).expect("it is open");
        assert!({ silent }.is_closed());
    }
}

#[test]
fn nothing_outside_the_root() {
    let server = Server::start(&["--root", "root"]);
    std::fs::write(server.dir.join("secret"), "secret").expect("written");
    std::fs::write(server.dir.join("root/.hidden"), "hidden").expect("written");
    symlink("../secret", server.dir.join("root/link")).expect("linked");
    symlink("/etc", server.dir.join("root/etc")).expect("linked");
    symlink("index.html", server.dir.join("root/inside")).expect("linked");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        server.dir.join("root/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("made");
    let mut client = Connection::open(server.address);
    for path in [
        "/../secret",
        "/sub/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "//etc/passwd",
        "/link",
        "/etc/passwd",
        "/.hidden",
        "/pipe",
        "/nothing",
        "/index.html/",
        "/gzip/../secret",
        "/gzip/link",
        "/gzip/sub",
    ] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
    assert_eq!(client.get("/a%00b").status, 400);
    assert_eq!(client.get("/inside").text(), "<p>hello</p>\n");
}

#[test]
fn compressed_by_either_kind() {
    for options in [
        &["--root", "root", "--workers", "process"][..],
        &["--root", "root", "--workers", "process", "--sandbox"],
        &["--root", "root", "--workers", "thread", "--fronts", "2"],
    ] {
        let server = Server::start(options);
        let mut client = Connection::open(server.address);
        let answer = client.get("/gzip/text.txt");
        assert_eq!((answer.status, gunzip(&answer.body)), (200, text()));
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        let body = text();
        client.send(&format!(
            "POST /gzip HTTP/1.1\r\nhost: test\r\ncontent-type: text/csv\r\ncontent-length: {}\r\n\r\n",
            body.len()
        ));
        client.send_bytes(&body);
        let answer = client.answer(true).expect("an answer");
        assert_eq!((answer.status, gunzip(&answer.body)), (200, body));
        assert_eq!(answer.header("content-type"), Some("text/csv"));
    }
}

#[test]
fn another_server_is_waited_for() {
    let other = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = other.local_addr().expect("bound").to_string();
    let server = Server::start(&[
        "--root",
        "root",
        "--upstream",
        &address,
        "--request-timeout",
        "500",
    ]);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| server.get("/upstream/a?b=c"));
        let (mut asked, _) = other.accept().expect("it asks");
        let mut head = [0; 9];
        asked.read_exact(&mut head).expect("a request");
        assert_eq!(&head, b"GET /a?b=");
        let answer = b"HTTP/1.1 203 Fine\r\ncontent-type: text/x\r\ncontent-length: 2\r\n\r\nhi";
        asked.write_all(answer).expect("it reads");
        let relayed = asking.join().expect("no panic");
        assert_eq!((relayed.status, relayed.text()), (203, "hi"));
        assert_eq!(relayed.header("content-type"), Some("text/x"));

        let asking = scope.spawn(|| server.get("/upstream/slow"));
        let slow = other.accept().expect("it asks");
        assert_eq!(asking.join().expect("no panic").status, 504);
        drop(slow);
    });
    drop(other);
    assert_eq!(server.get("/upstream/gone").status, 502);
}
