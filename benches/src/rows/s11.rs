//! S11, a shared region to a worker and back: from handing it over until the worker has mapped it,
//! looked at its first and its last byte and sent it back.
//!
//! The worker was there before and waits; the region was made and filled before. The floor does the
//! same with the bare calls: the descriptor over a socket, mapped there, two bytes looked at, and
//! the descriptor back.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use brigade::channel::{self, Receiver, Sender, Transport};
use brigade::{Descriptor, JoinHandle, Shared, process};
use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::report::{Goal, Row, figure};
use crate::rounds::{Contender, take_turns};
use crate::rows;
use crate::stats::Summary;
use crate::traffic::{ended, join, round_trips};

const FLOOR: &str = "floor: memfd, SCM_RIGHTS, mmap";
const COUNT: u32 = 200;
const MIB: usize = 1 << 20;

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let rounds = if quick { 7 } else { 25 };
    let sizes = [
        (
            "S11a",
            "a shared region of 64 MiB to a worker and back",
            64 * MIB,
        ),
        ("S11b", "the same, 1 MiB", MIB),
        ("S11c", "the same, 512 MiB", 512 * MIB),
    ];
    let mut rows = Vec::new();
    let mut medians: Vec<Summary> = Vec::new();
    for (id, what, len) in sizes {
        let row = row(rounds, id, what, len)?;
        medians.push(row.ours);
        rows.push(row);
    }
    let note = format!(
        "512 MiB take {} × as long as 1 MiB",
        figure(medians[2].median / medians[1].median)
    );
    Ok(match rows.pop() {
        Some(last) => {
            rows.push(last.note(note));
            rows
        }
        None => rows,
    })
}

fn row(rounds: usize, id: &'static str, what: &'static str, len: usize) -> io::Result<Row> {
    let region = Shared::<[u8]>::zeroed(len)?;
    let file = filled(len)?;
    let all = take_turns(
        rounds,
        vec![
            Contender::new("brigade, over channel::shm", || {
                ours(&region, Transport::SharedMemory)
            }),
            Contender::new("ours, over channel::socket", || {
                ours(&region, Transport::Socket)
            }),
            Contender::new(FLOOR, || floor(&file, len)),
        ],
    )?;
    let goals = [(FLOOR, Goal::AtMost(1.5))];
    Row::new(id, what, "µs", &all, &goals).ok_or_else(rows::empty)
}

/// Where regions come from, and where they go.
type Ends = (Receiver<Shared<[u8]>>, Sender<Shared<[u8]>>);

fn look((from, to): Ends) {
    for region in from.into_iter().flatten() {
        std::hint::black_box((region.first(), region.last()));
        if to.send(region).is_err() {
            return;
        }
    }
}

fn ours(region: &Shared<[u8]>, over: Transport) -> io::Result<f64> {
    let (to, from) = channel::channel(over, 4)?;
    let (answers, back) = channel::channel(over, 4)?;
    let worker: JoinHandle<()> = process::spawn(look, (from, answers))?;
    let figure = round_trips(COUNT, || {
        to.send(region.clone()).map_err(|_| ended())?;
        back.recv().map(drop).map_err(io::Error::other)
    })?;
    drop(to);
    join(worker)?;
    Ok(figure)
}

fn filled(len: usize) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("brigade-benches", MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&file, len as u64)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len as u64)?;
    Ok(file)
}

fn send(socket: &OwnedFd, file: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = [file.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&files));
    let bytes = [IoSlice::new(&[1])];
    rustix::net::sendmsg(socket, &bytes, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// `None`: the other end is gone.
fn receive(socket: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    }))
}

fn map_and_look((Descriptor(socket), len): (Descriptor, usize)) -> Result<(), String> {
    let work = || -> io::Result<()> {
        while let Some(file) = receive(&socket)? {
            // SAFETY: a new mapping, at an address that the kernel chooses, of a file that is as
            // long as that; unmapped after its last use.
            unsafe {
                let at = rustix::mm::mmap(
                    std::ptr::null_mut(),
                    len,
                    ProtFlags::READ,
                    MapFlags::SHARED,
                    &file,
                    0,
                )?;
                let first = at.cast::<u8>();
                std::hint::black_box((first.read(), first.add(len - 1).read()));
                send(&socket, &file)?;
                rustix::mm::munmap(at, len)?;
            }
        }
        Ok(())
    };
    work().map_err(|e| e.to_string())
}

fn floor(file: &OwnedFd, len: usize) -> io::Result<f64> {
    let (socket, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let worker = process::spawn(map_and_look, (Descriptor(theirs), len))?;
    let figure = round_trips(COUNT, || {
        send(&socket, file)?;
        receive(&socket)?.map(drop).ok_or_else(ended)
    })?;
    drop(socket);
    join(worker)?.map_err(io::Error::other)?;
    Ok(figure)
}
