//! Files and sockets are messages.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use brigade::channel::{Receiver, channel};
use brigade::{Descriptor, JoinError, Kind};

use crate::{LIMIT, each};

fn upper((Descriptor(mut from), Descriptor(mut to)): (Descriptor<File>, Descriptor<UnixStream>)) {
    let mut text = String::new();
    from.read_to_string(&mut text).expect("reads");
    to.write_all(text.to_uppercase().as_bytes())
        .expect("writes");
}

#[test]
fn a_task_gets_files_and_sockets() {
    brigade::init();
    for kind in Kind::ALL {
        let memory = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC);
        let mut file = File::from(memory.expect("memfd"));
        file.write_all(b"quietly").expect("writes");
        file.rewind().expect("rewinds");
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        kind.spawn(upper, (Descriptor(file), Descriptor(theirs)))
            .expect("starts")
            .join()
            .expect("returns");
        let mut heard = String::new();
        ours.read_to_string(&mut heard).expect("reads");
        assert_eq!(heard, "QUIETLY");
    }
}

fn listen((): ()) -> (Descriptor<TcpListener>, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let port = listener.local_addr().expect("bound").port();
    (Descriptor(listener), port)
}

fn serve(clients: Receiver<(Descriptor<TcpStream>, Descriptor)>) {
    for (Descriptor(mut client), Descriptor(log)) in clients {
        client.write_all(b"hello").expect("writes");
        File::from(log).write_all(b"served ").expect("writes");
    }
}

#[test]
fn a_listener_is_a_result_and_its_streams_go_through_channels() {
    each(|over, kind| {
        let (Descriptor(listener), port) = kind
            .spawn(listen, ())
            .expect("starts")
            .join()
            .expect("returns");
        let (to_server, clients) = channel(over, 2).expect("a channel");
        let server = kind.spawn(serve, clients).expect("starts");
        let (mut log, theirs) = UnixStream::pair().expect("a pair");
        for _ in 0..3 {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connects");
            let (stream, _) = listener.accept().expect("accepts");
            let theirs = OwnedFd::from(theirs.try_clone().expect("cloned"));
            to_server
                .send((Descriptor(stream), Descriptor(theirs)))
                .expect("received");
            client.set_read_timeout(Some(LIMIT)).expect("set");
            let mut heard = String::new();
            client.read_to_string(&mut heard).expect("reads");
            assert_eq!(heard, "hello");
        }
        drop((to_server, theirs));
        server.join().expect("returns");
        let mut written = String::new();
        log.read_to_string(&mut written).expect("reads");
        assert_eq!(written, "served served served ");
    });
}

fn many(count: usize) -> Vec<Descriptor> {
    let null = File::open("/dev/null").expect("/dev/null");
    (0..count)
        .map(|_| Descriptor(null.try_clone().expect("cloned").into()))
        .collect()
}

#[test]
fn a_message_carries_many_descriptors_but_not_any_number() {
    each(|over, kind| {
        let (sender, receiver) = channel::<Vec<Descriptor>>(over, 1).expect("a channel");
        sender.send(many(200)).expect("received");
        assert_eq!(receiver.recv().expect("sent").len(), 200);
        let back = sender.send(many(241)).expect_err("too many").0;
        assert_eq!(back.len(), 241);
        assert!(sender.fault().expect("told").contains("more than 240"));
        match kind.spawn(many, 241).expect("starts").join() {
            Ok(all) if kind == Kind::Thread => assert_eq!(all.len(), 241),
            Err(JoinError::Undeliverable(why)) => assert!(why.contains("more than 240"), "{why}"),
            other => panic!("{other:?}"),
        }
    });
}
