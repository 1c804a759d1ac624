//! Files and sockets are messages.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use brigade::channel::{Receiver, RecvTimeoutError, Sender, Transport, channel};
use brigade::{Descriptor, JoinError, Kind, process};

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
    for came in clients {
        let (Descriptor(mut client), Descriptor(log)) = came.expect("two descriptors");
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

#[test]
fn what_is_refused_again_and_again_leaves_nothing_behind() {
    each(|over, _| {
        let (sender, receiver) = channel::<Vec<Descriptor>>(over, 20).expect("a channel");
        let received = || receiver.recv_timeout(LIMIT).map(|m| m.len());
        // As many as a queue of the kernel's holds; beyond, what comes with a descriptor has to
        // wait.
        for _ in 0..10 {
            sender.send(Vec::new()).expect("there is room");
        }
        let mut sent = 0;
        for _ in 0..1000 {
            match sender.try_send(many(1)) {
                Ok(()) => sent += 1,
                Err(refused) => assert!(refused.is_full(), "{refused:?}"),
            }
        }
        for _ in 0..10 {
            assert_eq!(received(), Ok(0));
        }
        for _ in 0..sent {
            assert_eq!(received(), Ok(1));
        }
        sender.send_timeout(many(1), LIMIT).expect("there is room");
        assert_eq!(received(), Ok(1));
    });
}

fn receive_with_few((from, count): (Receiver<Descriptor>, usize)) -> usize {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let few = Rlimit {
        current: Some(40),
        maximum: Some(40),
    };
    setrlimit(Resource::Nofile, few).expect("a process may have less");
    (0..count)
        .take_while(|_| from.recv_timeout(LIMIT).is_ok())
        .count()
}

#[test]
fn a_receiver_needs_no_more_descriptors_than_it_keeps() {
    brigade::init();
    for over in Transport::ALL {
        let (sender, receiver) = channel(over, 200).expect("a channel");
        let sending = std::thread::spawn(move || {
            for descriptor in many(150) {
                sender.send(descriptor).expect("received");
            }
        });
        let task = process::spawn(receive_with_few, (receiver, 150)).expect("starts");
        assert_eq!(task.join().expect("returns"), 150, "over {over}");
        sending.join().expect("all were sent");
    }
}

fn give_back(sender: Sender<u8>) -> Sender<u8> {
    sender
}

#[test]
fn a_result_that_nobody_wants_keeps_nothing_open() {
    each(|over, kind| {
        let (sender, receiver) = channel::<u8>(over, 1).expect("a channel");
        let task = kind.spawn(give_back, sender).expect("starts");
        let gone = task.pid();
        while !task.is_finished() {
            std::thread::yield_now();
        }
        // Also when the process that has left it is no more.
        while gone.is_some_and(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists()) {
            std::thread::yield_now();
        }
        drop(task);
        assert_eq!(
            receiver.recv_timeout(LIMIT),
            Err(RecvTimeoutError::Disconnected)
        );
    });
}

fn send_to_nobody(over: Transport) -> bool {
    // SAFETY: what a C program has, where nobody has said otherwise.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    (0..2).all(|_| {
        let (sender, receiver) = channel::<Receiver<u8>>(over, 1).expect("a channel");
        let (lost, inside) = channel::<u8>(over, 4).expect("a channel");
        sender.send(inside).expect("there is room");
        drop((sender, receiver));
        (0..8).any(|n| lost.send(n).is_err())
    })
}

#[test]
fn no_signal_ends_a_sender() {
    brigade::init();
    for over in Transport::ALL {
        let task = process::spawn(send_to_nobody, over).expect("starts");
        assert!(task.join().expect("not killed by SIGPIPE"), "over {over}");
    }
}
